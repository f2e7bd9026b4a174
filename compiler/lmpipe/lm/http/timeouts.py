"""Timeouts of many requests with one timer: one timer per request costs 5% of a call's time."""

from __future__ import annotations

import asyncio
from math import inf


class Timeouts:
    """The timeouts of blocks on one event loop.

    with timeouts.within(60.0):  # raises TimeoutError
        await …
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._running: set[Timeout] = set()

    def within(self, seconds: float) -> Timeout:
        """Limit the time of a `with` block."""
        return Timeout(self, self._loop.time() + seconds)

    def start(self, timeout: Timeout) -> None:
        """Start the timeout of a block."""
        self._running.add(timeout)
        timer = self._timer
        if timer is None or timeout.at < timer.when():
            self._set_timer(timeout.at)

    def stop(self, timeout: Timeout) -> None:
        """Stop the timeout of a block. The timer keeps running: the next block may need it."""
        self._running.discard(timeout)

    def _set_timer(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._expire)

    def _expire(self) -> None:
        now = self._timer.when() if self._timer is not None else inf
        self._timer = None
        for timeout in [one for one in self._running if one.at <= now]:
            self._running.discard(timeout)
            timeout.expire()
        if self._running:
            self._set_timer(min(one.at for one in self._running))


class Timeout:
    """The timeout of one block. See `Timeouts`."""

    __slots__ = ("_cancelling", "_expired", "_owner", "_task", "at")

    def __init__(self, owner: Timeouts, at: float) -> None:
        self._owner = owner
        self.at = at
        self._expired = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task, self._cancelling = task, task.cancelling()
        self._owner.start(self)

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._owner.stop(self)
        if self._expired and self._task.uncancel() <= self._cancelling and error is not None:
            raise TimeoutError from error

    def expire(self) -> None:
        """Cancel the block's task."""
        self._expired = True
        self._task.cancel()
