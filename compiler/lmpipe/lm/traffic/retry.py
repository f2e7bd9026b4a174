"""Retries of unavailable LMs. No other layer retries."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from lmpipe.errors import LMError, LMUnavailableError
from lmpipe.foundation.checks import check_fields

T = TypeVar("T")

MAX_RETRY_AFTER = 120.0  # seconds; a longer Retry-After is shortened to this


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Retry attempts and backoff for an unavailable server.

    Args:
        attempts: The maximum number of attempts, the first one included.
        base: The maximum wait before the second attempt, in seconds; it doubles each time.
        cap: The maximum wait, in seconds, unless the server asks for a longer one.
        give_up_after: The maximum time from the first attempt to the start of the last one, in
            seconds; unlimited by default.

    Raises:
        ConfigError: If a value is out of range.
    """

    attempts: int = 6
    base: float = 0.5
    cap: float = 30.0
    give_up_after: float | None = None

    def __post_init__(self) -> None:
        check_fields(self, "attempts", minimum=1, integer=True)
        check_fields(self, "base", "cap", minimum=0)
        check_fields(self, "give_up_after", minimum=0, optional=True)

    def delay(self, attempt: int, retry_after: float | None, rng: random.Random) -> float:
        """Draw the wait in seconds after a failed attempt: exponential backoff with full jitter.

        The wait is random, so that the callers of an overloaded server do not all retry at once. It
        is added to the one that the server asks for. The first attempt has the number 1.
        """
        bound = min(self.cap, self.base * 2.0 ** min(attempt - 1, 64))
        return min(retry_after or 0.0, MAX_RETRY_AFTER) + rng.uniform(0.0, bound)


async def with_retries(
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
    """Retry a call whose first attempt failed. Only `LMUnavailableError` is retried.

    `call` makes one attempt; it takes its number, from 2. `error` is that of the first attempt,
    which began when the clock was at `started`. `on_retry` is called before each wait with the
    number of the attempt that failed (from 1), the wait in seconds and the error. If the last
    attempt fails too, its error is raised with the number of attempts and their duration.
    """
    attempt = 1
    while True:
        delay, spent = policy.delay(attempt, error.retry_after, rng), clock() - started
        too_late = policy.give_up_after is not None and spent + delay > policy.give_up_after
        if attempt >= policy.attempts or too_late:
            raise _final_error(error, attempt, spent) from error
        if on_retry is not None:
            on_retry(attempt, delay, error)
        await sleep(delay)
        attempt += 1
        try:
            return await call(attempt)
        except LMUnavailableError as failure:
            error = failure


def _final_error(error: LMUnavailableError, attempts: int, seconds: float) -> LMUnavailableError:
    tries = "1 attempt" if attempts == 1 else f"{attempts} attempts in {seconds:.1f} seconds"
    return LMUnavailableError(
        f"{error} ({tries})",
        status=error.status,
        retry_after=error.retry_after,
        sent=error.sent,
    )


def parse_retry_after(value: str | None, *, now: datetime | None = None) -> float | None:
    """Parse a `Retry-After` header, a number of seconds or an HTTP date, to seconds from now.

    Returns None if the header is missing or unusable.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        seconds = max(0.0, (moment - (now or datetime.now(UTC))).total_seconds())
    return seconds if 0.0 <= seconds < float("inf") else None
