"""What the runtime asks of a provider."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from lmpipe.lm.lm import LM
from lmpipe.lm.request import Reply, Request

# Told all the text that has come so far, each time that more has.
OnText = Callable[[str], None]


class Provider(Protocol):
    """One way to reach LMs. Lives on the runtime's event loop; retries nothing by itself."""

    async def complete(self, request: Request) -> Reply:
        """Ask the LM once, within its timeout.

        Raises:
            LMUnavailableError: if asking again may help (no connection, 429, 5xx, half a body,
                no whole reply within the LM's timeout). Its `status` is None where no answer of
                the server came at all.
            LMRequestError: if it cannot (any other 4xx, an unknown model, a prompt too long).
        """
        ...

    async def aclose(self) -> None:
        """Release connections, threads and memory."""
        ...


@runtime_checkable
class StreamingProvider(Provider, Protocol):
    """A provider that can tell of a reply while it is written."""

    async def stream(self, request: Request, on_text: OnText) -> Reply:
        """Like `complete`, and tells the text as it comes."""
        ...


@runtime_checkable
class EmbeddingProvider(Provider, Protocol):
    """A provider that can turn texts into vectors."""

    async def embed(self, request: Request) -> list[Reply]:
        """Give a reply for each turn of a request: its vector; errors as in `complete`."""
        ...


@runtime_checkable
class SamplingProvider(Provider, Protocol):
    """A provider whose server can draw several samples in one request."""

    async def samples(self, request: Request, n: int) -> list[Reply]:
        """Like `complete`, `n` times; what the prompt took is in the first reply's usage alone."""
        ...


@dataclass(frozen=True, slots=True)
class ServedAt:
    """Where an LM can be asked now.

    Args:
        base_url: the server's address, up to and including `/v1`.
        api_key: sent to it.
    """

    base_url: str
    api_key: str | None = None


class Servers(Protocol):
    """Who looks after servers. Lives on the runtime's event loop."""

    def use(self, lm: LM) -> AbstractAsyncContextManager[ServedAt]:
        """Keep the server of an LM up, with its adapter loaded, for as long as it is used.

        Raises:
            LMError: if there is none and none can be started.
        """
        ...

    async def aclose(self) -> None:
        """Stop the servers that were started."""
        ...


def is_served(lm: LM) -> bool:
    """Whether an LM needs someone to look after its server."""
    return lm.provider == "vllm" and (lm.base_url is None or lm.adapter is not None)
