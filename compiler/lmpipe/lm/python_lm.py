"""`PythonLM`: an LM whose replies are made by Python code, and the provider of it."""

from __future__ import annotations

from collections.abc import Callable

from lmpipe.errors import ConfigError
from lmpipe.lm.lm import LM
from lmpipe.lm.request import Reply, Request


class PythonLM(LM):
    """An LM whose replies Python code makes; it has no server and no price.

    Its calls are calls like others: cached, recorded in cassettes, counted and limited.
    """

    @property
    def replier(self) -> object:
        """What makes the replies; copies of the LM with other settings share it."""
        raise NotImplementedError

    async def complete(self, request: Request) -> Reply:
        """Reply to a request, like a provider."""
        raise NotImplementedError

    async def complete_in_pieces(self, request: Request, on_text: Callable[[str], None]) -> Reply:
        """Reply like `complete`, and pass on the text as it arrives."""
        reply = await self.complete(request)
        on_text(reply.text)
        return reply

    async def embed(self, request: Request) -> list[Reply]:
        """Return one reply with a vector per text."""
        raise ConfigError(f"{self.model} cannot embed texts: name an embedding LM")

    async def aclose(self) -> None:
        """Release what it holds: nothing, unless a subclass does."""


class PythonProvider:
    """The way to an LM whose replies Python code makes."""

    def __init__(self, lm: PythonLM) -> None:
        self._lm = lm

    async def complete(self, request: Request) -> Reply:
        """Let the LM reply."""
        return await self._lm.complete(request)

    async def stream(self, request: Request, on_text: Callable[[str], None]) -> Reply:
        """Reply like `complete`, and pass on the text in pieces."""
        return await self._lm.complete_in_pieces(request, on_text)

    async def embed(self, request: Request) -> list[Reply]:
        """Return one reply with a vector per text."""
        return await self._lm.embed(request)

    async def aclose(self) -> None:
        """Release what the LM holds."""
        await self._lm.aclose()
