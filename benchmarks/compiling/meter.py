"""What a compile asked of the server, as the proxy before it counted.

Standard library alone, because each side reads it in an environment of its own.
"""

from __future__ import annotations

import json
import time
import urllib.request
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Spent:
    """What was asked of a server.

    Args:
        calls: samples that were answered.
        prompt_tokens: tokens of their prompts.
        cached_tokens: those of them that came from the server's prefix cache, if it says so.
        completion_tokens: tokens that were generated.
        refused: requests that it answered with an error.
        seconds: wall time.
    """

    calls: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    refused: int = 0
    seconds: float = 0.0

    def __sub__(self, other: Spent) -> Spent:
        pairs = {one.name: (getattr(self, one.name), getattr(other, one.name)) for one in _FIELDS}
        return Spent(**{name: round(a - b, 1) for name, (a, b) in pairs.items()})

    def __add__(self, other: Spent) -> Spent:
        pairs = {one.name: (getattr(self, one.name), getattr(other, one.name)) for one in _FIELDS}
        return Spent(**{name: round(a + b, 1) for name, (a, b) in pairs.items()})


_FIELDS = fields(Spent)


@dataclass(frozen=True)
class Meter:
    """The account of one client of a `compiling.proxy`.

    Args:
        url: the address that the client asks, up to `/v1`: `http://…/NAME/v1`.
    """

    url: str

    def read(self) -> Spent:
        """All that was asked under this name so far.

        Raises:
            OSError: if the proxy does not answer.
        """
        address = f"{self.url.rstrip('/').removesuffix('/v1')}/spent"
        with urllib.request.urlopen(address, timeout=60) as page:
            return Spent(**json.load(page), seconds=time.monotonic())
