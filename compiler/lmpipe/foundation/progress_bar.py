"""Progress on standard error: a bar where a person looks, a line now and then elsewhere."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from lmpipe.foundation.printable import printable

if TYPE_CHECKING:
    from rich.progress import Progress

# Seconds between two lines.
HEARTBEAT = 15.0

# What is done, how many of it, and of how many (None is unknown).
Report = Callable[[str, int, int | None], None]


@contextmanager
def progress_bar(shown: bool | None) -> Iterator[Report | None]:
    """Show progress while a block runs, which calls the function as work gets done.

    Yields None if nothing is shown.

    Args:
        shown: False shows nothing, None shows progress on a terminal and in a notebook, and True
            everywhere. Where no bar can be drawn, it is a line every 15 seconds.
    """
    terminal, notebook = sys.stderr.isatty(), _in_notebook()
    if shown is False or (shown is None and not terminal and not notebook):
        yield None
    elif terminal or (notebook and importlib.util.find_spec("ipywidgets") is not None):
        with _live() as bar:
            yield _on_bar(bar)
    else:
        yield Heartbeat().report


class Heartbeat:
    """Writes a line when the last one was 15 seconds ago; the first one after as long.

    Args:
        file: where to write; standard error by default.
        clock: returns the time in seconds.
    """

    def __init__(
        self, file: TextIO | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._file = file
        self._clock = clock
        self._last = clock()

    def write(self, line: str) -> None:
        """Write a line at once."""
        self._last = self._clock()
        print(printable(line), file=self._file or sys.stderr, flush=True)

    def report(self, text: str, done: int, total: int | None) -> None:
        """Write how much is done, if a line is due."""
        if self._clock() - self._last >= HEARTBEAT:
            self.write(f"{text}: {done_of(done, total)}")


def done_of(done: int, total: int | None) -> str:
    """Write how much is done: `12 of 40`."""
    return f"{done:,}" if total is None else f"{done:,} of {total:,}"


def _live() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=Console(stderr=True), transient=True)


def _on_bar(bar: Progress) -> Report:
    task = bar.add_task("", total=None)

    def report(text: str, done: int, total: int | None) -> None:
        bar.update(task, description=printable(text), completed=done, total=total)

    return report


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")
