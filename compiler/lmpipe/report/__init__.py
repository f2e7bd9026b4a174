"""What people see of a compile: tables, live progress, and the report page of a run folder."""

from __future__ import annotations

from lmpipe.report.page import write_report

__all__ = ["write_report"]
