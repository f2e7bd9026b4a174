"""Retries in one layer: exponential backoff with full jitter, `Retry-After` respected."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from lmpipe.errors import LMError, LMUnavailableError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    attempts: int = 6
    base: float = 0.5
    cap: float = 30.0


async def with_retries(
    call: Callable[[], Awaitable[T]],
    *,
    policy: RetryPolicy,
    rng: random.Random,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    on_retry: Callable[[int, float, LMError], None] | None = None,
) -> T:
    for attempt in range(policy.attempts - 1):
        try:
            return await call()
        except LMUnavailableError as error:
            wait = error.retry_after or rng.uniform(0, min(policy.cap, policy.base * 2**attempt))
            if on_retry:
                on_retry(attempt + 1, wait, error)
            await sleep(wait)
    return await call()
