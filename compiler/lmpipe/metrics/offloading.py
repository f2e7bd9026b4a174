"""Call a metric on the event loop while it is fast, and in threads while it is slow."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

# A slower call holds up all LM calls noticeably; a thread costs a tenth of this.
_SLOW_SECONDS = 1e-3
# A fast function may be interrupted, but hardly twice within so many calls.
_CALLS_WATCHED = 16
# How many calls then run in threads, so that a function that is fast again returns to the loop.
_CALLS_IN_THREADS = 64
# More threads that compute would take the event loop's turns.
_THREADS = 8


class Offloaded:
    """A sync function that is awaited; after two slow calls, the next ones run in a few threads.

    A thread has the caller's context. Several threads may run the function at the same time.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._calls_in_threads = 0
        self._calls_watched = 0  # of those after a slow call
        self._threads: ThreadPoolExecutor | None = None

    async def __call__(self, *args: Any) -> Any:
        """Return the function's result, or raise its exception."""
        if not self._calls_in_threads:
            return self._timed(args)
        if self._threads is None:
            self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="lmpipe-metric")
        run = partial(contextvars.copy_context().run, self._timed, args)
        return await asyncio.get_running_loop().run_in_executor(self._threads, run)

    def _timed(self, args: tuple[Any, ...]) -> Any:
        started = time.perf_counter()
        try:
            return self._function(*args)
        except StopIteration as error:  # a future cannot carry it
            raise RuntimeError(f"StopIteration: {error}") from error
        finally:
            slow = time.perf_counter() - started > _SLOW_SECONDS
            if slow or self._calls_watched or self._calls_in_threads:
                self._count(slow=slow)

    def _count(self, *, slow: bool) -> None:
        if slow and self._calls_watched:
            self._calls_in_threads = _CALLS_IN_THREADS
        elif self._calls_in_threads:
            self._calls_in_threads -= 1
        self._calls_watched = _CALLS_WATCHED if slow else max(0, self._calls_watched - 1)
