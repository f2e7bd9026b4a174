"""The LM calls and tokens of a compile, as the counting proxy reports them.

Standard library only, because each side imports it in its own environment.
"""

from __future__ import annotations

import json
import time
import urllib.request
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Spent:
    """LM calls and tokens.

    Args:
        calls: Samples that were answered.
        prompt_tokens: The tokens of their prompts.
        cached_tokens: Prompt tokens from the server's prefix cache, if it reports them.
        completion_tokens: Generated tokens.
        refused: Requests that the server answered with an error.
        seconds: Wall time.
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
    """The counts of one client of a `compiling.proxy`.

    Args:
        url: The address that the client uses, up to `/v1`: `http://…/NAME/v1`.
    """

    url: str

    def read(self) -> Spent:
        """Read the counts so far.

        Raises:
            OSError: If the proxy does not answer.
        """
        address = f"{self.url.rstrip('/').removesuffix('/v1')}/spent"
        with urllib.request.urlopen(address, timeout=60) as page:
            return Spent(**json.load(page), seconds=time.monotonic())
