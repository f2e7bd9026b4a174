"""What the runtime asks of a provider."""

from __future__ import annotations

from typing import Protocol

from lmpipe.lm.request import Reply, Request


class Provider(Protocol):
    """One way to reach LMs. Lives on the runtime's event loop; retries nothing by itself."""

    async def complete(self, request: Request) -> Reply:
        """Ask the LM once.

        Raises:
            LMUnavailableError: if asking again may help (no connection, 429, 5xx, half a body).
            LMRequestError: if it cannot (any other 4xx, an unknown model, a prompt too long).
        """
        ...

    async def aclose(self) -> None:
        """Release connections, threads and memory."""
        ...
