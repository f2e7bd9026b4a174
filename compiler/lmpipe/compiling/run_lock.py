"""One compile of a recipe at a time: a lock on its identity in the folder of runs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO

from lmpipe.errors import ConfigError
from lmpipe.foundation.atomic_files import lock_file

# How often a compile that waits looks whether the other one has ended.
_INTERVAL = 0.2


@asynccontextmanager
async def sole_compile(
    root: Path, identity: str, waiting: Callable[[], None]
) -> AsyncIterator[None]:
    """Hold the lock of a compile for a block; wait while another process or task holds it.

    The lock ends with the process, however it ends. `waiting` is called once if there is a wait.

    Raises:
        ConfigError: if the folder cannot be created or written to.
    """
    path = _lock_path(root, identity)
    if (file := _take(path)) is None:
        waiting()
    while file is None:
        await asyncio.sleep(_INTERVAL)
        file = _take(path)
    try:
        yield
    finally:
        # Removed while it is locked, so that no other compile holds a lock on it.
        with suppress(OSError):  # not every system removes open files
            path.unlink()
        file.close()


def _lock_path(root: Path, identity: str) -> Path:
    """Return the path of the lock, in a folder that exists."""
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(root, error) from error
    return root / f".compile-{identity[:16]}.lock"


def _unwritable(root: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"run folders cannot be written to {root}: {error.strerror}; choose another folder with "
        "compile(…, runs=…), on the command line --runs DIR"
    )


def _take(path: Path) -> IO[bytes] | None:
    """Lock a file, which is created if needed; None if it is locked."""
    try:
        file = path.open("ab")
    except OSError as error:
        raise _unwritable(path.parent, error) from error
    if lock_file(file) and _is_at(path, file):
        return file
    file.close()
    return None


def _is_at(path: Path, file: IO[bytes]) -> bool:
    """Whether a locked file still has its name: its last holder may have removed it."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
