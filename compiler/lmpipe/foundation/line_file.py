"""A file to which lines are appended, each whole or not at all."""

from __future__ import annotations

import contextlib
import os
import time
from io import FileIO
from pathlib import Path

from lmpipe.foundation.atomic_files import lock_file
from lmpipe.foundation.storing import open_own, storing

_CHUNK = 2**16  # bytes that are read at once to find the last line


class LineFile:
    """A file of lines that is created if it is missing and keeps the lines that it has.

    A line that cannot be written whole is taken back, so the file can be read and continued after
    the disk was full. Not safe to share between threads.

    Raises:
        StorageError: if the file cannot be opened or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.fdopen(open_own(path, os.O_RDWR | os.O_APPEND), "r+b", buffering=0)
        self._size = self._file.seek(0, os.SEEK_END)

    @property
    def empty(self) -> bool:
        """Whether it has no lines."""
        return self._size == 0

    def lock(self) -> bool:
        """Lock it until it is closed; return False if another process has locked it."""
        return lock_file(self._file)

    def drop_torn_line(self) -> None:
        """Drop an incomplete last line, as a process that was killed leaves it."""
        self._file.seek(0)
        self._size = self._file.readall().rfind(b"\n") + 1
        with storing(self.path):
            self._file.truncate(self._size)

    def append(self, line: bytes) -> None:
        """Append a line, given without the newline at its end."""
        rest = memoryview(line + b"\n")
        try:
            with storing(self.path):
                while rest:
                    rest = rest[os.write(self._file.fileno(), rest) :]
        except BaseException:
            with contextlib.suppress(OSError):
                self._file.truncate(self._size)
            raise
        self._size += len(line) + 1

    def close(self) -> None:
        """Close the file and unlock it."""
        self._file.close()


def append_durably(path: Path, line: bytes) -> None:
    """Append a line, given without the newline at its end; it is on the disk when this returns.

    Several processes may append to one file. What a process that was killed left of a line is
    dropped.

    Raises:
        StorageError: if it cannot be written; the file is then as it was.
    """
    with os.fdopen(open_own(path, os.O_RDWR | os.O_APPEND), "r+b", buffering=0) as file:
        while not lock_file(file):
            time.sleep(0.001)  # another process appends its line
        size = _whole_lines(file)
        try:
            with storing(path):
                file.truncate(size)
                rest = memoryview(line + b"\n")
                while rest:
                    rest = rest[os.write(file.fileno(), rest) :]
                os.fsync(file.fileno())
        except BaseException:
            with contextlib.suppress(OSError):
                file.truncate(size)
            raise


def _whole_lines(file: FileIO) -> int:
    """Return the size of a file without an incomplete last line."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - _CHUNK)
        file.seek(start)
        if found := file.read(end - start).rfind(b"\n") + 1:
            return start + found
        end = start
    return 0
