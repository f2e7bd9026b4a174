"""Write files atomically, and lock folders for one process at a time."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from lmpipe.foundation.storing import open_own, storing

try:
    import fcntl
except ImportError:  # not a POSIX system: locks have no effect
    fcntl = None  # type: ignore[assignment]


def home_folder() -> Path:
    """Return the folder of downloads and caches: $LMPIPE_HOME, else in the user's cache folder."""
    if home := os.environ.get("LMPIPE_HOME"):
        return Path(home).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "lmpipe"


def write_file(path: Path, data: bytes) -> None:
    """Write a file atomically: on failure, a StorageError, its old content remains."""
    with open_atomic(path) as file:
        file.write(data)


@contextmanager
def open_atomic(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file that replaces `path` when the block ends without an error.

    A device or a pipe, such as /dev/stdout, is written to and never replaced. Raises a StorageError
    if it cannot be written.
    """
    if _is_stream(path):
        with storing(path), path.open("wb") as file:
            yield file
        return
    temporary = _temporary(path)
    try:
        with storing(path):
            with temporary.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def _is_stream(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)


def make_readable(path: Path) -> None:
    """Give a file that a library made private the permissions of any new file of the user."""
    temporary = _temporary(path)
    temporary.touch(exist_ok=False)
    try:
        path.chmod(stat.S_IMODE(temporary.stat().st_mode))
    finally:
        temporary.unlink()


def _temporary(path: Path) -> Path:
    """Name a file beside another; `tempfile` would make it readable by its owner only."""
    return path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}")


def lock_file(file: IO[bytes]) -> bool:
    """Lock an open file until it is closed; return False if another process has locked it.

    On a file system without locks this has no effect.
    """
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise
    return True


class FolderLock:
    """A folder locked by this process. The lock ends with the process, however it ends."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    @staticmethod
    def take(folder: Path) -> FolderLock | None:
        """Lock a folder, or return None if another process has locked it.

        Raises a StorageError if its `.lock` is not a file that can be opened.
        """
        file = os.fdopen(open_own(folder / ".lock", os.O_RDWR), "r+b")
        if not lock_file(file):
            file.close()
            return None
        return FolderLock(file)

    def release(self) -> None:
        """Unlock the folder."""
        self._file.close()
