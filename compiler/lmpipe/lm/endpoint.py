"""`Endpoint`: where one LM is asked, with its limits and retries."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from lmpipe.errors import LMError
from lmpipe.lm.lm import LM
from lmpipe.lm.providers import open_provider
from lmpipe.lm.providers.base import OnText, Provider, SamplingProvider, StreamingProvider
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

    async def ask(self, request: Request, *, on_text: OnText | None = None) -> Reply:
        """Ask until there is a reply.

        Args:
            request: what to ask.
            on_text: told the text as it comes, where the provider can tell.

        Raises:
            LMError: if the LM cannot be reached after retries, or refuses.
        """
        async with self._limit:
            return await with_retries(
                lambda: complete(self._provider, request, on_text),
                policy=self._retry,
                rng=self._rng,
                on_retry=self._on_retry,
            )

    async def ask_samples(self, request: Request, n: int) -> list[Reply]:
        """Ask for several samples in one request; gives none where the provider cannot.

        Raises:
            LMError: if the LM cannot be reached after retries, or refuses.
        """
        provider = self._provider
        if not isinstance(provider, SamplingProvider) or request.lm.temperature == 0:
            return []
        async with self._limit:
            return await with_retries(
                lambda: provider.samples(request, n),
                policy=self._retry,
                rng=self._rng,
                on_retry=self._on_retry,
            )

    async def aclose(self) -> None:
        """Release connections and engines."""
        await self._provider.aclose()


async def complete(provider: Provider, request: Request, on_text: OnText | None) -> Reply:
    """Ask a provider once, as a stream where that is wanted and can be."""
    if on_text is None:
        return await provider.complete(request)
    if isinstance(provider, StreamingProvider):
        return await provider.stream(request, on_text)
    reply = await provider.complete(request)
    on_text(reply.text)
    return reply
