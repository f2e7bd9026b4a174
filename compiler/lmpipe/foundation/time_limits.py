"""Waiting for something for a limited time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def within(
    seconds: float | None, running: Awaitable[T], *, late: Callable[[], Exception]
) -> T:
    """Await something, and cancel it after this many seconds; None means no limit.

    `late` makes the error to raise then. It is raised even if the cancelled code turns its
    cancellation into another error.
    """
    if seconds is None:
        return await running
    timer = asyncio.timeout(seconds)
    try:
        async with timer:
            return await running
    except Exception as error:
        if not timer.expired():
            raise
        raise late() from (None if isinstance(error, TimeoutError) else error)
