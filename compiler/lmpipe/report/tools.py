"""The tools that the runs of a compile used, and how often they failed."""

from __future__ import annotations

from lmpipe.report.run_files import RunFiles
from lmpipe.report.text import count
from lmpipe.report.view import Column, Table, TableRow, cells

_SOURCES = ("ran", "stored", "faked")
_COLUMNS = (
    Column("tool"),
    *(Column(name, "number") for name in ("uses", "errors", *_SOURCES)),
)


def make_tools(run: RunFiles) -> Table | None:
    """List the tools; None if none was used."""
    uses = run.tools
    rows = []
    for name in sorted({use.tool for use in uses}):
        own = [use for use in uses if use.tool == name]
        by_source = [sum(use.source == source for use in own) for source in _SOURCES]
        numbers = (len(own), sum(use.error for use in own), *by_source)
        rows.append(TableRow(cells(name, *map(count, numbers))))
    return Table("Uses of tools", _COLUMNS, tuple(rows)) if rows else None
