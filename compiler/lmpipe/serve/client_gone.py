"""`while_connected`: a run ends when nobody waits for its answer any more."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.requests import ClientDisconnect
from starlette.types import Receive

AFTER = 1.0  # seconds; to watch a run that is done sooner would take longer than it is worth


@contextmanager
def while_connected(receive: Receive) -> Iterator[None]:
    """Cancel what a block awaits when the client is gone.

    `receive` is that of the request, whose body has been read.

    Raises:
        ClientDisconnect: if it is.
    """
    running, loop = asyncio.current_task(), asyncio.get_running_loop()
    watching: list[asyncio.Task[None]] = []
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        if running is not None:
            running.cancel()

    timer = loop.call_later(AFTER, lambda: watching.append(loop.create_task(watch())))
    try:
        yield
    except asyncio.CancelledError:
        # One who stops the server cancels too, which must go on.
        if not gone or running is None or running.uncancel():
            raise
        raise ClientDisconnect from None
    finally:
        timer.cancel()
        for task in watching:
            task.cancel()
