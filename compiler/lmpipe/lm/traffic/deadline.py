"""The deadline of the LM calls in a block."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

from lmpipe.errors import DeadlineError
from lmpipe.foundation.checks import check_number
from lmpipe.foundation.time_limits import within

P = ParamSpec("P")
T = TypeVar("T")

# When the deadline passes, by the monotonic clock, and how many seconds away it was when set.
_deadline: ContextVar[tuple[float, float] | None] = ContextVar("lmpipe_deadline", default=None)


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Limit the total time of the LM calls made inside a `with` block, in seconds from now.

    Of nested deadlines, the earlier one applies.
    """
    check_number("using", "deadline", seconds, above=0)
    outer, own = _deadline.get(), (time.monotonic() + seconds, seconds)
    token = _deadline.set(own if outer is None else min(outer, own))
    try:
        yield
    finally:
        _deadline.reset(token)


def check_deadline() -> None:
    """Raise a DeadlineError if the deadline has passed."""
    found = _deadline.get()
    if found is not None and time.monotonic() >= found[0]:
        raise _passed(found[1])


async def before_deadline(ask: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call an async function; at the deadline, cancel it and raise a DeadlineError."""
    found = _deadline.get()
    if found is None:
        return await ask(*args, **kwargs)
    at, seconds = found
    left = at - time.monotonic()
    return await within(left, ask(*args, **kwargs), late=lambda: _passed(seconds))


def _passed(seconds: float) -> DeadlineError:
    return DeadlineError(
        f"the deadline of {seconds:g} seconds passed before the LM had replied: set a later one "
        "with lmpipe.using(deadline=…); earlier replies are in the cache, if one is configured"
    )
