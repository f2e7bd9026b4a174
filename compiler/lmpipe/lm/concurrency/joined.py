"""`Joined`: work that several callers want at the same time is done once."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_UNDONE: Any = object()  # the caller that did it was cancelled


class Joined(Generic[T]):
    """Does work by its key, once for all that ask while it is done, in any thread and loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[str, Future[T]] = {}
        self._process = os.getpid()

    async def do(self, key: str, work: Callable[[], Awaitable[T]]) -> tuple[T, bool]:
        """Do the work, or wait until another caller has done it.

        Returns:
            The result, and whether it is that of another caller, whose error is raised too.
        """
        while (other := self._begun(key)) is not None:
            result = await asyncio.wrap_future(other)
            if result is not _UNDONE:
                return result, True
        try:
            result = await work()
        except Exception as error:
            self._end(key).set_exception(error)
            raise
        except BaseException:  # of this caller alone, such as its cancellation
            self._end(key).set_result(_UNDONE)
            raise
        self._end(key).set_result(result)
        return result, False

    def _begun(self, key: str) -> Future[T] | None:
        """Return the work of another caller; begin it and return None if there is none."""
        with self._lock:
            if self._process != os.getpid():  # what a parent process began never ends here
                self._running, self._process = {}, os.getpid()
            if (other := self._running.get(key)) is not None:
                return other
            begun = self._running[key] = Future()
            begun.set_running_or_notify_cancel()  # a caller that is cancelled cannot cancel it
        return None

    def _end(self, key: str) -> Future[T]:
        with self._lock:
            return self._running.pop(key)
