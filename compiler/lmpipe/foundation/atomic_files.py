"""Files that are written whole or not at all, and folders that one process works in at a time."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # not a POSIX system: two processes are not kept apart there
    fcntl = None  # type: ignore[assignment]


def home_folder() -> Path:
    """Where lmpipe keeps what it fetched and made: $LMPIPE_HOME, or in the user's cache folder."""
    if home := os.environ.get("LMPIPE_HOME"):
        return Path(home).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "lmpipe"


def write_file(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    with whole_file(path) as file:
        file.write(data)


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file to write to, which takes its name at the end, or is gone if that is not reached."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def lock_file(file: IO[bytes]) -> bool:
    """Take an open file for this process until it is closed; False if another one has it."""
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True


class FolderLock:
    """A folder taken by this process; the system gives it back however the process ends.

    Args:
        file: the open lock file.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    @staticmethod
    def take(folder: Path) -> FolderLock | None:
        """Take a folder, or return None if another process has it."""
        file = (folder / ".lock").open("wb")
        if not lock_file(file):
            file.close()
            return None
        return FolderLock(file)

    def release(self) -> None:
        """Give the folder back."""
        self._file.close()
