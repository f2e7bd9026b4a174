"""The server usage of a compile, as the counting proxy reports it.

Only the standard library, because each side imports it in a separate environment.
"""

from __future__ import annotations

import json
import time
import urllib.request
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Spent:
    """The usage of a server.

    Args:
        calls: answered samples.
        prompt_tokens: prompt tokens.
        cached_tokens: prompt tokens from the server's prefix cache, if it reports them.
        completion_tokens: generated tokens.
        refused: requests answered with an error.
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
    """Reads the counters of one client of a `compiling.proxy`.

    Args:
        url: the URL that the client uses, up to `/v1`: `http://…/NAME/v1`.
    """

    url: str

    def read(self) -> Spent:
        """Return the usage of this client so far.

        Raises:
            OSError: if the proxy does not answer.
        """
        address = f"{self.url.rstrip('/').removesuffix('/v1')}/spent"
        with urllib.request.urlopen(address, timeout=60) as page:
            return Spent(**json.load(page), seconds=time.monotonic())
