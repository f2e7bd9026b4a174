"""What the runtime asks of a provider."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

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
class SamplingProvider(Provider, Protocol):
    """A provider whose server can draw several samples in one request."""

    async def samples(self, request: Request, n: int) -> list[Reply]:
        """Like `complete`, `n` times; what the prompt took is in the first reply's usage alone."""
        ...
