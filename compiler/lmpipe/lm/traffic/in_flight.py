"""Requests that are in flight, so that identical ones are sent once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Collection, Sequence

from lmpipe.lm.request import Reply


class InFlight:
    """The requests in flight by their keys, on one event loop."""

    def __init__(self) -> None:
        self._replies: dict[str, asyncio.Future[Reply | None]] = {}
        self._tasks: set[asyncio.Task[object]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def __contains__(self, key: str) -> bool:
        return key in self._replies

    def __bool__(self) -> bool:
        return bool(self._replies)

    async def join(self, key: str) -> Reply | None:
        """Wait for the reply to an identical request; None if none is in flight."""
        running = asyncio.get_running_loop()
        if running is not self._loop:
            # In a forked child, the requests that the parent has in flight never finish.
            self._loop = running
            self._replies.clear()
            self._tasks.clear()
        while (coming := self._replies.get(key)) is not None:
            # Cancelling one caller must not cancel the request for the others.
            reply = await asyncio.shield(coming)
            if reply is not None:
                return reply.as_cached()
        return None

    async def share(
        self, keys: Collection[str], coming: Awaitable[Sequence[Reply]]
    ) -> Sequence[Reply]:
        """Wait for the replies to the requests with these keys; who joins them gets them too."""
        flights = {key: asyncio.get_running_loop().create_future() for key in keys}
        self._replies |= flights
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        replies: Sequence[Reply] = ()
        try:
            replies = await coming
        except asyncio.CancelledError:
            raise  # the callers that share the request repeat it
        except BaseException as error:
            for flight in flights.values():
                flight.set_exception(error)
                flight.exception()  # marks it as retrieved if no caller shares the request
            raise
        finally:
            self._tasks.discard(task)
            received = iter(replies)
            for key, flight in flights.items():
                del self._replies[key]
                if not flight.done():
                    flight.set_result(next(received, None))
        return replies

    async def cancel(self) -> None:
        """Cancel all of them, and wait until they have ended."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
