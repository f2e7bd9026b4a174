"""`Endpoint`: where one LM is asked, with its limits and retries."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from lmpipe.errors import LMError
from lmpipe.lm.lm import LM
from lmpipe.lm.providers import open_provider
from lmpipe.lm.request import Reply, Request
from lmpipe.lm.retry import RetryPolicy, with_retries


class Endpoint:
    """A server, or several replicas of one, that answer for one LM. Lives on the runtime's loop.

    Args:
        lm: the LM; others that differ in their decoding settings alone are asked here too.
        max_in_flight: requests in flight at a time, where the LM sets no limit of its own.
        retry: how often and how patiently an unavailable server is asked again.
        on_retry: called with the attempt's number, the wait in seconds and the error.
    """

    def __init__(
        self,
        lm: LM,
        *,
        max_in_flight: int,
        retry: RetryPolicy,
        on_retry: Callable[[int, float, LMError], None] | None = None,
    ) -> None:
        self._provider = open_provider(lm)
        self._limit = asyncio.Semaphore(lm.limits.in_flight or max_in_flight)
        self._retry = retry
        self._on_retry = on_retry
        self._rng = random.Random()

    async def ask(self, request: Request) -> Reply:
        """Ask until there is a reply.

        Raises:
            LMError: if the LM cannot be reached after retries, or refuses.
        """
        async with self._limit:
            return await with_retries(
                lambda: self._provider.complete(request),
                policy=self._retry,
                rng=self._rng,
                on_retry=self._on_retry,
            )

    async def aclose(self) -> None:
        """Release connections and engines."""
        await self._provider.aclose()
