"""SIGTERM ends a command as Ctrl-C does: what runs is cancelled and saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_STATUS = 128 + signal.SIGTERM


class Terminated(SystemExit):
    """The process was asked to end by SIGTERM; uncaught, it ends with the usual status, 143."""

    def __init__(self) -> None:
        super().__init__(EXIT_STATUS)


def notes_of(error: BaseException) -> tuple[str, ...]:
    """Return the notes of an exception."""
    return tuple(getattr(error, "__notes__", ()))


@contextmanager
def sigterm_ends() -> Iterator[None]:
    """Let SIGTERM raise `Terminated` in this block instead of ending the process at once.

    Only in the main thread, and only if the program has no handler of its own.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated
