"""`ProgressWatcher`: shows the progress of a compile that Python code started."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from lmpipe.foundation.progress_bar import Report
from lmpipe.foundation.shorten import one_line
from lmpipe.optimize.engine.events import Progress, WatcherBase
from lmpipe.optimize.engine.program_runs import REPEATED_USE


class ProgressWatcher(WatcherBase):
    """A watcher that reports each step: its phase, the rows that ended, and the best score.

    It warns of a program that uses a predictor more often than plans and budgets count.
    """

    def __init__(self, report: Report | None) -> None:
        self._report = report

    def progress(self, progress: Progress) -> None:
        if self._report is None:
            return
        text = f"{progress.phase}: {one_line(progress.step, 40)}"
        if progress.best is not None:
            text += f", best so far {progress.best:.1%}"
        self._report(text, progress.done, progress.of)

    def note(self, kind: str, data: Mapping[str, Any]) -> None:
        if kind == REPEATED_USE:
            warnings.warn(data["message"], stacklevel=2)
