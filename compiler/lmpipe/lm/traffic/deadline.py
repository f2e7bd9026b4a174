"""The time by which the LM calls of a block must be done."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

from lmpipe.errors import DeadlineError
from lmpipe.foundation.checks import check_number

P = ParamSpec("P")
T = TypeVar("T")

# When it passes, by the monotonic clock, and how many seconds it was away when it was set.
_deadline: ContextVar[tuple[float, float] | None] = ContextVar("lmpipe_deadline", default=None)


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Give the LM calls made inside a `with` block so many seconds together, from now.

    Of nested deadlines the earlier one holds.

    Raises:
        ConfigError: if the seconds are not above 0.
    """
    check_number("using", "deadline", seconds, above=0)
    outer, own = _deadline.get(), (time.monotonic() + seconds, seconds)
    token = _deadline.set(own if outer is None else min(outer, own))
    try:
        yield
    finally:
        _deadline.reset(token)


def check_deadline() -> None:
    """Refuse a call that begins after the deadline.

    Raises:
        DeadlineError: if it has passed.
    """
    found = _deadline.get()
    if found is not None and time.monotonic() >= found[0]:
        raise _passed(found[1])


async def in_time(ask: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """Ask for something, wait for it until the deadline, and cancel it then.

    Raises:
        DeadlineError: if the deadline passes first.
    """
    found = _deadline.get()
    if found is None:
        return await ask(*args, **kwargs)
    timer = asyncio.timeout(found[0] - time.monotonic())
    try:
        async with timer:
            return await ask(*args, **kwargs)
    except TimeoutError:
        if not timer.expired():
            raise
        raise _passed(found[1]) from None


def _passed(seconds: float) -> DeadlineError:
    return DeadlineError(
        f"the deadline of {seconds:g} seconds passed before the LM had replied: set a later one "
        "with lmpipe.using(deadline=…); replies that came until then are in the cache, if there "
        "is one"
    )
