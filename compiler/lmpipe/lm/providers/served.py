"""LMs whose servers are looked after while they are asked: started, stopped, given adapters."""

from __future__ import annotations

from lmpipe.lm.lm import LM
from lmpipe.lm.providers.base import OnText, ServedAt, Servers
from lmpipe.lm.providers.openai_compatible import OpenAICompatibleProvider
from lmpipe.lm.request import Reply, Request


class ServedProvider:
    """Asks an LM at the server that is up for it.

    Args:
        lm: an LM; its key, headers and timeout hold for all requests.
        servers: who looks after servers.
    """

    def __init__(self, lm: LM, servers: Servers) -> None:
        self._lm, self._servers = lm, servers
        self._providers: dict[ServedAt, OpenAICompatibleProvider] = {}

    async def complete(self, request: Request) -> Reply:
        """Ask once; errors are those of the server's provider and of who looks after it."""
        async with self._servers.use(request.lm) as place:
            return await self._at(place).complete(request)

    async def samples(self, request: Request, n: int) -> list[Reply]:
        """Ask for several samples in one request."""
        async with self._servers.use(request.lm) as place:
            return await self._at(place).samples(request, n)

    async def stream(self, request: Request, on_text: OnText) -> Reply:
        """Like `complete`, and tells the text as it comes."""
        async with self._servers.use(request.lm) as place:
            return await self._at(place).stream(request, on_text)

    async def embed(self, request: Request) -> list[Reply]:
        """Ask for the vectors of a request's texts."""
        async with self._servers.use(request.lm) as place:
            return await self._at(place).embed(request)

    async def aclose(self) -> None:
        """Close the connections; servers are not stopped."""
        for provider in self._providers.values():
            await provider.aclose()

    def _at(self, place: ServedAt) -> OpenAICompatibleProvider:
        provider = self._providers.get(place)
        if provider is None:
            lm = self._lm.at(place.base_url, api_key=place.api_key)
            provider = self._providers[place] = OpenAICompatibleProvider(lm)
        return provider
