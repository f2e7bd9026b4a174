"""`ScriptedLM`: an LM for tests, with replies from a script."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from types import FunctionType
from typing import Any

from lmpipe.errors import ConfigError, LMRequestError
from lmpipe.foundation.canonical_json import digest
from lmpipe.foundation.plural import plural
from lmpipe.foundation.shorten import short_repr
from lmpipe.foundation.vectors import encode_vector
from lmpipe.lm.code_fingerprint import code_fingerprint
from lmpipe.lm.listener import ThoughtsListener, ToolCallsListener
from lmpipe.lm.python_lm import PythonLM
from lmpipe.lm.reasoning import split_reasoning
from lmpipe.lm.request import Reply, Request
from lmpipe.state.usage import Usage

_DIMENSIONS = 64

Script = Callable[[Request], str | Reply] | Sequence[str | Reply]


class ScriptedLM(PythonLM):
    """An LM that replies from a script: instant, offline and deterministic.

    As an embedder it returns vectors that are more similar the more words two texts share.

    Args:
        script: a function from the request to the reply, or the replies in order. A reply is a
            text, or a `Reply` that was cut or refused, or calls tools. A function of the request
            alone makes runs repeatable at any concurrency.
        vectors: a function from a text to its vector, to replace the default vectors.
        name: distinguishes the scripted LMs of one test. Caches know a function by its code, and
            one of an LM with a name by that name alone: then give another name after changing it.
        settings: the other arguments of `LM`.

    Raises:
        ConfigError: if the script is neither a function nor a list of replies.

    Attributes:
        source: what else identifies its replies in cache keys: a hash of its functions.
        requests: the requests that reached the LM; cached ones do not.
    """

    def __init__(
        self,
        script: Script = (),
        *,
        name: str | None = None,
        vectors: Callable[[str], Sequence[float]] | None = None,
        **settings: Any,
    ) -> None:
        if not callable(script) and (isinstance(script, str) or not all(map(_is_reply, script))):
            raise ConfigError(
                f"ScriptedLM({short_repr(script, 100)}): give a list of replies, each a text or a "
                "Reply, or a function from the request to the reply"
            )
        super().__init__(f"scripted/{name or 'scripted'}", **settings)
        source = "" if name else _source(script, vectors)
        object.__setattr__(self, "source", source)
        object.__setattr__(self, "script", script)
        object.__setattr__(self, "vectors", vectors or _bag_of_words)
        object.__setattr__(self, "requests", [])

    source: str
    script: Script
    vectors: Callable[[str], Sequence[float]]
    requests: list[Request]

    def __getstate__(self) -> dict[str, Any]:
        # In another process, no request has reached it yet.
        return {**super().__getstate__(), "requests": []}

    def identity(self) -> dict[str, Any]:
        script = self.script
        replies = [] if callable(script) else [_plain(reply) for reply in script]
        return {**super().identity(), "script": digest(replies)}

    @property
    def replier(self) -> object:
        return self.requests

    async def complete(self, request: Request) -> Reply:
        """Reply to a request, like a provider."""
        self.requests.append(request)
        if callable(self.script):
            scripted = self.script(request)
        elif len(self.requests) <= len(self.script):
            scripted = self.script[len(self.requests) - 1]
        else:
            raise LMRequestError(
                f"the script of {self.model} ended after "
                f"{plural(len(self.script), 'reply', 'replies')}: add replies, or use a function "
                "as the script"
            )
        if isinstance(scripted, Reply):
            calls = scripted.tool_calls and scripted.finish == "stop"
            return replace(scripted, finish="tool_calls") if calls else scripted
        if not isinstance(scripted, str):
            raise LMRequestError(
                f"the script of {self.model} gave {short_repr(scripted, 100)}: give a text or a "
                "Reply"
            )
        prompt = sum(len(message.text.split()) for message in request.messages)
        reasoning, answer = split_reasoning(scripted)
        usage = Usage(prompt, len(scripted.split()))
        return Reply(answer, usage=usage, reasoning=reasoning)

    async def complete_in_pieces(self, request: Request, on_text: Callable[[str], None]) -> Reply:
        """Reply like `complete`, and pass on the thoughts and the text word by word."""
        reply = await self.complete(request)
        if reply.reasoning and isinstance(on_text, ThoughtsListener):
            for thoughts in _growing(reply.reasoning):
                on_text.thoughts(thoughts)
        if reply.tool_calls and isinstance(on_text, ToolCallsListener):
            on_text.tool_calls(reply.tool_calls)
        for text in _growing(reply.text):
            on_text(text)
        return reply

    async def embed(self, request: Request) -> list[Reply]:
        """Return one reply with a vector per text; each word counts as a token."""
        self.requests.append(request)
        texts = [message.text for message in request.messages]
        return [
            Reply(encode_vector(self.vectors(text)), usage=Usage(len(text.split())))
            for text in texts
        ]


def _source(*functions: object) -> str:
    """Hash the functions among some values; empty if there are none."""
    found = [function for function in functions if callable(function)]
    return digest([_code_of(function) for function in found]) if found else ""


def _code_of(function: object) -> list[Any]:
    # Several lambdas may share one line of source; their constants tell them apart.
    constants = function.__code__.co_consts if isinstance(function, FunctionType) else ()
    plain = [value for value in constants if isinstance(value, str | int | float)]
    return [code_fingerprint(function), plain]


def _growing(text: str) -> Iterator[str]:
    """Yield the text up to each word, then all of it."""
    for space in re.finditer(r"\s+", text):
        yield text[: space.end()]
    yield text


def _is_reply(value: object) -> bool:
    return isinstance(value, str | Reply)


def _plain(reply: str | Reply) -> Any:
    return reply if isinstance(reply, str) else reply.to_json()


def _bag_of_words(text: str) -> list[float]:
    """Count the words of a text, each at a position given by its hash."""
    counts = [0.0] * _DIMENSIONS
    for word in text.casefold().split():
        counts[zlib.crc32(word.encode()) % _DIMENSIONS] += 1
    return counts
