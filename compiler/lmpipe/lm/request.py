"""Requests to an LM and its replies: frozen values, no I/O.

A request whose turns have the role `embed` asks for the vectors of their texts. The text of its
reply is one vector, encoded by `foundation.vectors`, so caches and cassettes store it like any
other reply.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from lmpipe.lm.cache_key import Prefix, cache_key, hash_messages
from lmpipe.lm.lm import LM
from lmpipe.lm.message import Constraint, Message
from lmpipe.lm.parts import ToolCall, ToolSpec
from lmpipe.lm.reasoning import split_reasoning
from lmpipe.state.usage import Usage

Finish = Literal["stop", "length", "tool_calls", "content_filter", "other"]
_FINISHES = frozenset(get_args(Finish))


@dataclass(frozen=True, init=False)
class Request:
    """One call of an LM. Equal requests have equal keys, so they share a cached reply.

    Args:
        messages: the conversation, system turn first.
        sample: the number of this sample, from 0; each sample has a separate cache entry.
        tools: the tools that the LM may call.
        tool_choice: `auto`, `required`, `none` or a tool's name; empty leaves it to the server.
        prefix: the first turns of the messages, if other requests begin with them too.
    """

    lm: LM
    messages: tuple[Message, ...]
    constraint: Constraint | None = None
    sample: int = 0
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: str = ""
    prefix: Prefix | None = field(default=None, compare=False, repr=False)

    def __init__(
        self,
        lm: LM,
        messages: tuple[Message, ...],
        constraint: Constraint | None = None,
        sample: int = 0,
        tools: tuple[ToolSpec, ...] = (),
        tool_choice: str = "",
        prefix: Prefix | None = None,
    ) -> None:
        # Every call makes one, and a frozen dataclass would take more than twice the time.
        values = self.__dict__
        values["lm"] = lm
        values["messages"] = messages
        values["constraint"] = constraint
        values["sample"] = sample
        values["tools"] = tools
        values["tool_choice"] = tool_choice
        values["prefix"] = prefix

    def key(self, weights: str = "") -> str:
        """Return the cache key: a hash of everything that can change the reply, without secrets.

        `weights` identifies the model's weights, if they are a local file.
        """
        return cache_key(
            self.lm,
            self.messages,
            self.constraint,
            self.sample,
            tools=self.tools_json() if self.tools else None,
            prefix=self.prefix,
            weights=weights,
        )

    @property
    def embeds(self) -> bool:
        """Whether it asks for an embedding vector."""
        return bool(self.messages) and self.messages[0].role == "embed"

    def seed(self) -> int:
        """Return a seed for the server's sampler, specific to this request and sample."""
        return int(self.key()[:8], 16) & 0x7FFFFFFF

    def affinity(self) -> bytes:
        """Identify all turns but the last, so that similar requests go to the same replica."""
        return self.prefix.digest if self.prefix else hash_messages(self.messages[:-1]).digest()

    def to_json(self) -> dict[str, Any]:
        return {
            "lm": self.lm.identity(),
            "messages": [message.to_json() for message in self.messages],
            "constraint": self.constraint.to_json() if self.constraint else None,
            "sample": self.sample,
            **self.tools_json(),
        }

    def tools_json(self) -> dict[str, Any]:
        """Return the tools and how one is chosen, as JSON; empty if there are none."""
        if not self.tools:
            return {}
        return {"tools": [tool.to_json() for tool in self.tools], "tool_choice": self.tool_choice}


def embedding_request(lm: LM, text: str) -> Request:
    """Make the request for the vector of a text."""
    # Servers refuse empty texts.
    return Request(lm, (Message("embed", text or " "),))


@dataclass(frozen=True, slots=True)
class Quote:
    """Words of a document that the LM's provider names as the source of a reply.

    Args:
        document: the place of the document among those of the request, from 0.
        text: the words.
    """

    document: int
    text: str


@dataclass(frozen=True, slots=True)
class Reply:
    """An LM's reply to one request.

    Args:
        text: the answer, without the LM's thoughts.
        finish: why it stopped; `length` means that it was cut at the limit of tokens.
        usage: the tokens that the server counted.
        seconds: how long the server took for the fresh call, without waiting before it was sent.
        fingerprint: the server's description of itself (version, weights), for the records.
        cached: whether this copy came from a cache or a cassette.
        reasoning: the LM's thoughts before the answer, if it shows them.
        refusal: why the LM, or its provider, declined to answer, in its words; else empty.
        attempts: how often the request was sent: more than once if the server received it but
            did not answer, and may have counted it.
        tool_calls: the calls of tools that the LM asks for, in order.
        signature: what the provider needs to recognise the thoughts in a later turn.
        logprobs: the tokens of the answer with their log probabilities, as JSON, if asked for.
        context: the maximum tokens of a call, which the server of a cut reply was asked for, if
            nobody knew it; else 0.
        quotes: the words of documents that the provider cites, in order.
    """

    text: str
    finish: Finish = "stop"
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0
    fingerprint: str = ""
    cached: bool = False
    reasoning: str = ""
    refusal: str = ""
    attempts: int = 1
    tool_calls: tuple[ToolCall, ...] = ()
    signature: str = ""
    logprobs: tuple[Mapping[str, Any], ...] | None = None
    context: int = 0
    quotes: tuple[Quote, ...] = ()

    def __str__(self) -> str:
        return self.text

    def to_json(self) -> dict[str, Any]:
        """Return everything except `cached`, which describes the copy."""
        return {
            "text": self.text,
            "finish": self.finish,
            "usage": self.usage.to_json(),
            "seconds": self.seconds,
            "fingerprint": self.fingerprint,
            **self.extras(),
        }

    def extras(self) -> dict[str, Any]:
        """Return what few replies have, as JSON; it is stored only if there is any."""
        extras: dict[str, Any] = {}
        if self.reasoning:
            extras["reasoning"] = self.reasoning
        if self.refusal:
            extras["refusal"] = self.refusal
        if self.attempts != 1:
            extras["attempts"] = self.attempts
        if self.tool_calls:
            extras["tool_calls"] = [call.to_json()["tool_call"] for call in self.tool_calls]
        if self.signature:
            extras["signature"] = self.signature
        if self.logprobs is not None:
            extras["logprobs"] = list(self.logprobs)
        if self.context:
            extras["context"] = self.context
        if self.quotes:
            extras["quotes"] = [[quote.document, quote.text] for quote in self.quotes]
        return extras

    @staticmethod
    def from_json(value: Any, *, cached: bool = False) -> Reply:
        """Read what `to_json` wrote, or raise a ValueError."""
        try:
            text, finish, seconds = value["text"], value["finish"], value["seconds"]
            usage, fingerprint = value["usage"], value["fingerprint"]
            prompt, completion = usage["prompt_tokens"], usage["completion_tokens"]
            cached_prompt = usage["cached_prompt_tokens"]
        except (KeyError, TypeError):
            raise ValueError("not a stored reply") from None
        if not (
            type(text) is type(fingerprint) is str
            and finish in _FINISHES
            and type(seconds) in (float, int)
            and type(prompt) is type(completion) is type(cached_prompt) is int
        ):
            raise ValueError("not a stored reply")
        if prompt < 0 or completion < 0 or cached_prompt < 0:
            raise ValueError("not a stored reply: a number of tokens is negative")
        counts = Usage(prompt, completion, cached_prompt)
        if len(usage) > _USUAL_COUNTS:
            counts = Usage.from_json(usage)
        extras = read_extras(value) if len(value) > _USUAL_PARTS else {}
        if not extras.get("reasoning"):  # earlier versions stored the thoughts with the text
            reasoning, text = split_reasoning(text)
            if reasoning:
                extras["reasoning"] = reasoning
        return Reply(text, finish, counts, float(seconds), fingerprint, cached, **extras)

    def as_cached(self) -> Reply:
        """Return this reply marked as cached."""
        if self.cached:
            return self
        return Reply(  # three times as fast as `replace`
            self.text,
            self.finish,
            self.usage,
            self.seconds,
            self.fingerprint,
            True,
            self.reasoning,
            self.refusal,
            self.attempts,
            self.tool_calls,
            self.signature,
            self.logprobs,
            self.context,
            self.quotes,
        )


# Of a stored reply and its usage; few have more.
_USUAL_PARTS, _USUAL_COUNTS = 5, 3


def read_extras(value: Mapping[str, Any]) -> dict[str, Any]:
    """Read what `Reply.extras` wrote as arguments of `Reply`, or raise a ValueError."""
    extras = {name: value[name] for name in _EXTRAS if name in value}
    if not all(type(extras[name]) is kind for name, kind in _EXTRAS.items() if name in extras):
        raise ValueError("not a stored reply")
    if extras.get("attempts", 1) < 1 or extras.get("context", 0) < 0:
        raise ValueError("not a stored reply")
    if "tool_calls" in extras:
        extras["tool_calls"] = tuple(map(_read_tool_call, extras["tool_calls"]))
    if "logprobs" in extras:
        extras["logprobs"] = tuple(extras["logprobs"])
        if not all(isinstance(token, dict) for token in extras["logprobs"]):
            raise ValueError("not a stored reply")
    if "quotes" in extras:
        extras["quotes"] = tuple(map(_read_quote, extras["quotes"]))
    return extras


_EXTRAS: Mapping[str, type] = {
    "reasoning": str,
    "refusal": str,
    "attempts": int,
    "tool_calls": list,
    "signature": str,
    "logprobs": list,
    "context": int,
    "quotes": list,
}


def _read_quote(value: Any) -> Quote:
    match value:
        case [int(document), str(text)] if document >= 0:
            return Quote(document, text)
    raise ValueError("not a stored reply")


def _read_tool_call(value: Any) -> ToolCall:
    match value:
        case {"id": str(call_id), "name": str(name), "arguments": str(arguments)}:
            return ToolCall(call_id, name, arguments)
    raise ValueError("not a stored reply")
