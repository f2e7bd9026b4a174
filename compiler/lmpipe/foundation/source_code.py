"""The source of classes and functions, read once for each of them."""

from __future__ import annotations

import inspect
import os
from functools import lru_cache
from types import CodeType


def source_of(value: type | CodeType) -> str | None:
    """Return the source of a class, or of a function's code; None if there is none.

    It is kept until its file changes, because `inspect` parses the whole file to find a class, and
    reads the tokens of a function to find its end.
    """
    try:
        file = inspect.getfile(value)
    except (OSError, TypeError):
        return None
    try:
        status = os.stat(file)
        changed = status.st_mtime_ns, status.st_size
    except OSError:  # not a file, but the cell of a notebook, for example
        changed = None
    try:
        return _read(value, file, changed)
    except TypeError:  # a class that cannot be hashed
        return _read.__wrapped__(value, file, changed)


@lru_cache(maxsize=1024)
def _read(value: type | CodeType, file: str, changed: tuple[int, int] | None) -> str | None:
    # The file is given too because the code of functions in two files may be equal.
    try:
        return inspect.getsource(value)
    except (OSError, TypeError):
        return None
