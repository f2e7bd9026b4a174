"""The interface between the runtime and providers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from lmpipe.errors import LMError
from lmpipe.lm.lm import LM
from lmpipe.lm.request import Reply, Request

# Called with all the text so far, each time that more arrives; see also `ThoughtsListener`.
OnText = Callable[[str], None]

# Called before a wait with the attempt's number, the wait in seconds and the error.
OnRetry = Callable[[int, float, LMError], None]


class Provider(Protocol):
    """One way to reach LMs. Runs on the runtime's event loop and does not retry."""

    async def complete(self, request: Request) -> Reply:
        """Send one request, within the LM's timeout.

        Raises:
            LMUnavailableError: If a retry may help: no connection, 429, 5xx, half a body, no
                whole reply within the LM's timeout. Its `status` is None if the server did not
                answer at all; its `sent` tells whether the server may have worked on it.
            LMRequestError: If a retry cannot help: any other 4xx, an unknown model, a prompt that
                is too long.
            RefusalError: If a content filter refuses the prompt.
        """
        ...

    async def aclose(self) -> None:
        """Release connections, threads and memory."""


@runtime_checkable
class StreamingProvider(Provider, Protocol):
    """A provider that can stream replies."""

    async def stream(self, request: Request, on_text: OnText) -> Reply:
        """Like `complete`; also reports the text as it arrives."""
        ...


@runtime_checkable
class EmbeddingProvider(Provider, Protocol):
    """A provider that can embed texts."""

    async def embed(self, request: Request) -> list[Reply]:
        """Return one reply per message of the request: its vector. Raises like `complete`."""
        ...


@runtime_checkable
class SamplingProvider(Provider, Protocol):
    """A provider whose server can draw several samples per request."""

    async def samples(self, request: Request, n: int) -> list[Reply]:
        """Return `n` replies; only the first one's usage counts the prompt's tokens."""
        ...


@dataclass(frozen=True, slots=True)
class ServedAt:
    """The server of an LM that is running now: its URL, up to and including `/v1`, and its key."""

    base_url: str
    api_key: str | None = None


class Servers(Protocol):
    """A manager of model servers. Runs on the runtime's event loop."""

    def use(self, lm: LM) -> AbstractAsyncContextManager[ServedAt]:
        """Keep an LM's server running, with its adapter loaded, for the length of the block.

        Raises an LMError if no server is running and none can be started.
        """
        ...

    async def aclose(self) -> None:
        """Stop the servers that the manager started."""


def is_served(lm: LM) -> bool:
    """Whether an LM needs a server manager: to start its server or to load its adapter."""
    return lm.provider == "vllm" and (lm.base_url is None or lm.adapter is not None)
