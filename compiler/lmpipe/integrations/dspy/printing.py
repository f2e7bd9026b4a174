"""What DSPy's optimizers print goes to stderr: stdout is lmpipe's, which machines may read."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from lmpipe.integrations.dspy.run import current_run


class _ByRun:
    """Stdout, for all but the code of a run: its threads know the run, and others do not."""

    def __init__(self, stdout: TextIO, run: object) -> None:
        self._stdout, self._run = stdout, run

    def write(self, text: str) -> int:
        return (sys.stderr if current_run() is self._run else self._stdout).write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stdout, name)


@contextmanager
def printing_to_stderr(run: object) -> Iterator[None]:
    """Send what the code of a run prints to stderr while the block runs."""
    stdout: Any = sys.stdout
    sys.stdout = _ByRun(stdout, run)
    try:
        yield
    finally:
        sys.stdout = stdout
