"""LMs whose servers are managed: started, stopped, and given adapters."""

from __future__ import annotations

from lmpipe.lm.lm import LM
from lmpipe.lm.providers.base import OnText, ServedAt, Servers
from lmpipe.lm.providers.openai_compatible import OpenAICompatibleProvider
from lmpipe.lm.request import Reply, Request


class ServedProvider:
    """Sends requests to the server that the manager keeps running for an LM.

    The LM's key, headers and timeout apply to all requests.
    """

    def __init__(self, lm: LM, servers: Servers) -> None:
        self._lm, self._servers = lm, servers
        self._providers: dict[ServedAt, OpenAICompatibleProvider] = {}

    async def complete(self, request: Request) -> Reply:
        """Send one request. Raises the errors of the server's provider and of the manager."""
        async with self._servers.use(request.lm) as server:
            return await self._provider(server).complete(request)

    async def samples(self, request: Request, n: int) -> list[Reply]:
        """Draw several samples in one request."""
        async with self._servers.use(request.lm) as server:
            return await self._provider(server).samples(request, n)

    async def stream(self, request: Request, on_text: OnText) -> Reply:
        """Like `complete`; also reports the text as it arrives."""
        async with self._servers.use(request.lm) as server:
            return await self._provider(server).stream(request, on_text)

    async def embed(self, request: Request) -> list[Reply]:
        """Embed a request's texts."""
        async with self._servers.use(request.lm) as server:
            return await self._provider(server).embed(request)

    async def aclose(self) -> None:
        """Close the connections; the servers keep running."""
        for provider in self._providers.values():
            await provider.aclose()

    def _provider(self, server: ServedAt) -> OpenAICompatibleProvider:
        provider = self._providers.get(server)
        if provider is None:
            lm = self._lm.at(server.base_url, api_key=server.api_key)
            provider = self._providers[server] = OpenAICompatibleProvider(lm)
        return provider
