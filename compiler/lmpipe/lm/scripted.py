"""`ScriptedLM`: an LM for tests whose replies are written by hand."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from lmpipe.errors import LMRequestError
from lmpipe.foundation.canonical_json import digest
from lmpipe.foundation.vectors import encode_vector
from lmpipe.lm.lm import LM
from lmpipe.lm.request import Reply, Request
from lmpipe.lm.usage import Usage

_PLACES = 64


class ScriptedLM(LM):
    """An LM that answers from a script: instant, offline and deterministic.

    As an embedder it gives vectors in which texts are the nearer, the more words they share.

    Args:
        script: a function from the request to the reply's text, or replies given in turn. A
            function that depends on the request alone keeps runs repeatable at any concurrency.
        vectors: a function from a text to its vector, in place of those.
        name: tells several scripted LMs of one test apart.
        settings: anything that `LM` takes.

    Attributes:
        requests: every request that reached it; cached ones do not.
    """

    def __init__(
        self,
        script: Callable[[Request], str] | Sequence[str] = (),
        *,
        name: str = "scripted",
        vectors: Callable[[str], Sequence[float]] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(f"scripted/{name}", **settings)
        object.__setattr__(self, "script", script)
        object.__setattr__(self, "vectors", vectors or _bag_of_words)
        object.__setattr__(self, "requests", [])

    script: Callable[[Request], str] | Sequence[str]
    vectors: Callable[[str], Sequence[float]]
    requests: list[Request]

    def identity(self) -> dict[str, Any]:
        script = self.script
        replies = [] if callable(script) else list(script)
        return {**super().identity(), "script": digest(replies)}

    def __hash__(self) -> int:
        return super().__hash__()

    async def complete(
        self, request: Request, *, on_text: Callable[[str], None] | None = None
    ) -> Reply:
        """Answer one request, like a provider."""
        self.requests.append(request)
        if callable(self.script):
            text = self.script(request)
        elif len(self.requests) <= len(self.script):
            text = self.script[len(self.requests) - 1]
        else:
            raise LMRequestError(
                f"{self.model} has {len(self.script)} replies and was asked once more: "
                "add replies, or script it with a function"
            )
        prompt = sum(len(message.content.split()) for message in request.messages)
        return Reply(text, usage=Usage(prompt, len(text.split())))

    async def stream(self, request: Request, on_text: Callable[[str], None]) -> Reply:
        """Like `complete`, and tells the text word by word."""
        reply = await self.complete(request)
        for end in re.finditer(r"\s+", reply.text):
            on_text(reply.text[: end.end()])
        on_text(reply.text)
        return reply

    async def embed(self, request: Request) -> list[Reply]:
        """Give the vectors of a request's texts; a word is a token."""
        self.requests.append(request)
        texts = [message.content for message in request.messages]
        return [
            Reply(encode_vector(self.vectors(text)), usage=Usage(len(text.split())))
            for text in texts
        ]

    async def aclose(self) -> None:
        """Nothing to release."""


def _bag_of_words(text: str) -> list[float]:
    """How often words are there, each counted in one of a few places by its hash."""
    counts = [0.0] * _PLACES
    for word in text.casefold().split():
        counts[zlib.crc32(word.encode()) % _PLACES] += 1
    return counts
