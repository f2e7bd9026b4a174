"""Errors of the disk as one error that names the file and the remedy."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lmpipe.errors import StorageError

_NO_ACCESS = "check the permissions of its folder, or choose another place"
_FILE_FOR_FOLDER = "a file is where its folder should be: remove it, or choose another place"
_REMEDIES = {
    errno.ENOSPC: "make room on this disk, then run again",
    errno.EDQUOT: "make room within this user's quota, then run again",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f), then run again",
    errno.EEXIST: _FILE_FOR_FOLDER,
    errno.ENOTDIR: _FILE_FOR_FOLDER,
    errno.EACCES: _NO_ACCESS,
    errno.EPERM: _NO_ACCESS,
    errno.EROFS: _NO_ACCESS,
    errno.ELOOP: "it is a symbolic link, which is not followed: remove it",
}


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn an OSError while a file is written into a StorageError that names it."""
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, "check the disk, then run again")
        raise StorageError(
            f"{path} cannot be written: {error.strerror or error}; {remedy}"
        ) from error


def open_own(path: Path, flags: int) -> int:
    """Open or create a file of lmpipe's own and return its descriptor, or raise a StorageError.

    Whoever may write to the folder could have put something else in its place, so no symbolic link
    is followed, and nothing but a regular file is opened.
    """
    guarded = os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    with storing(path):
        descriptor = os.open(path, flags | guarded, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise StorageError(f"{path} cannot be written: it is not a regular file; remove it")
    return descriptor
