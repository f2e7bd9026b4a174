"""`AccessLog`: one line for each request, written many at a time."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TextIO

from lmpipe.foundation.printable import printable
from lmpipe.foundation.shorten import one_line

_LONGEST_PATH = 200  # characters
_PAUSE = 0.2  # seconds between writes; a write for each request takes longer than the rest of it


class AccessLog:
    """Writes a line for each request: never its query, headers or body, which may hold secrets."""

    def __init__(self, file: TextIO | None = None) -> None:
        """Write to a file, by default standard error."""
        self._file = file or sys.stderr
        self._lines: list[str] = []
        self._second, self._stamp = 0, ""

    def add(
        self, request_id: str, method: str, path: str, status: int, seconds: float, run: str
    ) -> None:
        """Add a line, which is written a moment later."""
        if not self._lines:
            asyncio.get_running_loop().call_later(_PAUSE, self.flush)
        shown = path if len(path) <= _LONGEST_PATH and path.isprintable() else _shown(path)
        by = f" run={run}" if run else ""
        self._lines.append(
            f"{self._now()} {request_id} {method} {shown} {status} {seconds * 1e3:.1f} ms{by}\n"
        )

    def flush(self) -> None:
        """Write all lines."""
        lines, self._lines = self._lines, []
        self._file.write("".join(lines))
        self._file.flush()

    def _now(self) -> str:
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
        return self._stamp


def _shown(path: str) -> str:
    return printable(one_line(path, _LONGEST_PATH))
