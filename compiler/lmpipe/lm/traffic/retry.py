"""The one layer that asks an unavailable LM again."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from lmpipe.errors import ConfigError, LMError, LMUnavailableError

T = TypeVar("T")

MAX_RETRY_AFTER = 120.0  # seconds; a server that asks for more is taken at this word


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and how patiently an unavailable server is asked again.

    Args:
        attempts: how often it is asked in all.
        base: the longest wait before the second attempt, in seconds; it doubles each time.
        cap: the longest wait of all, in seconds, where the server does not ask for more.
        give_up_after: the longest that it is asked in all, in seconds from the first attempt; no
            bound by default. An attempt that is under way is not broken off.

    Raises:
        ConfigError: if a value is out of range.
    """

    attempts: int = 6
    base: float = 0.5
    cap: float = 30.0
    give_up_after: float | None = None

    def __post_init__(self) -> None:
        times = (self.base, self.cap, self.give_up_after or 0.0)
        if self.attempts < 1 or any(time < 0 for time in times):
            raise ConfigError(f"{self}: needs 1 attempt or more, and waits of 0 seconds or more")

    def delay(self, attempt: int, retry_after: float | None, rng: random.Random) -> float:
        """Seconds to wait after a failed attempt, counted from 1.

        Full jitter: anywhere between nothing and the bound, on top of what the server asks for,
        so that the callers of an overloaded server do not come back all at once.
        """
        bound = min(self.cap, self.base * 2.0 ** min(attempt - 1, 64))
        return min(retry_after or 0.0, MAX_RETRY_AFTER) + rng.uniform(0.0, bound)


async def ask_again(
    call: Callable[[int], Awaitable[T]],
    error: LMUnavailableError,
    *,
    policy: RetryPolicy,
    rng: random.Random,
    started: float,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    clock: Callable[[], float] = time.monotonic,
    on_retry: Callable[[int, float, LMError], None] | None = None,
) -> T:
    """Go on after a first failed attempt; only `LMUnavailableError` is worth another one.

    Args:
        call: makes one attempt; takes its number, which is 2 at first.
        error: why the first attempt failed.
        policy: how often and how patiently.
        rng: draws the waits.
        started: the clock's time at which the first attempt began.
        sleep: waits for so many seconds.
        clock: the time in seconds.
        on_retry: called before each wait with the number of the attempt that failed (from 1),
            the wait in seconds and the error.

    Raises:
        LMUnavailableError: if the last attempt fails too; says how often and how long it was
            tried, and is raised from the last attempt's own error.
    """
    attempt = 1
    while True:
        delay, spent = policy.delay(attempt, error.retry_after, rng), clock() - started
        impatient = policy.give_up_after is not None and spent + delay > policy.give_up_after
        if attempt >= policy.attempts or impatient:
            raise _gave_up(error, attempt, spent) from error
        if on_retry is not None:
            on_retry(attempt, delay, error)
        await sleep(delay)
        attempt += 1
        try:
            return await call(attempt)
        except LMUnavailableError as failure:
            error = failure


def _gave_up(error: LMUnavailableError, attempts: int, seconds: float) -> LMUnavailableError:
    times = "once" if attempts == 1 else f"{attempts} times over {seconds:.1f} seconds"
    return LMUnavailableError(
        f"{error} (asked {times})", status=error.status, retry_after=error.retry_after
    )


def parse_retry_after(value: str | None, *, now: datetime | None = None) -> float | None:
    """Read a `Retry-After` header: seconds from now, or None where it says nothing usable.

    Args:
        value: the header: a number of seconds, or an HTTP date.
        now: the time that a date is counted from; the present by default.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
        except ValueError:
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        seconds = max(0.0, (moment - (now or datetime.now(UTC))).total_seconds())
    return seconds if 0.0 <= seconds < float("inf") else None
