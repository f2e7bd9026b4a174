"""Requests to an LM and its replies: frozen values, no I/O.

A request whose turns have the role `embed` asks for the vectors of their texts. The text of its
reply is one vector, encoded by `foundation.vectors`, so caches and cassettes store it like any
other reply.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

from lmpipe.foundation.canonical_json import canonical_json
from lmpipe.lm.lm import LM
from lmpipe.lm.usage import Usage

if TYPE_CHECKING:
    from hashlib import _Hash

Role = Literal["system", "user", "assistant", "embed"]
Finish = Literal["stop", "length", "other"]
_FINISHES = frozenset(get_args(Finish))

# Every field of a `Request` is in one of these; the cache key contains only the first.
IN_KEY = ("lm", "messages", "constraint", "sample")
NOT_IN_KEY = ("prefix",)

_MAX_KNOWN = 64


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str

    def to_json(self) -> dict[str, str]:
        return {"role": self.role, "content": self.content}

    def line(self) -> bytes:
        """Encode the turn as one line of canonical JSON."""
        return canonical_json({"content": self.content, "role": self.role}) + b"\n"


@dataclass(frozen=True, slots=True)
class Constraint:
    """A constraint on the reply's text that the server enforces while it decodes.

    Its value is a JSON schema as canonical JSON, or a grammar in GBNF with the start rule `root`.
    """

    kind: Literal["json_schema", "grammar"]
    value: str

    def to_json(self) -> dict[str, str]:
        return {"kind": self.kind, "value": self.value}


class Prefix:
    """The first turns of many requests, which are hashed once for all of them."""

    def __init__(self, messages: tuple[Message, ...]) -> None:
        self.messages = messages
        self._known: dict[tuple[bytes, Constraint | None, str], _Hash] = {}

    @cached_property
    def digest(self) -> bytes:
        """The hash of these turns: servers can reuse their work on prompts with the same one."""
        return _begin_hash(b"", self.messages).digest()

    def begin_key(self, lm: LM, constraint: Constraint | None, weights: str) -> _Hash:
        """Return the hash of a cache key up to the end of these turns; copy it to continue."""
        which = (lm.identity_json, constraint, weights)
        begun = self._known.get(which)
        if begun is None:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            begun = self._known[which] = _begin_hash(_head(*which), self.messages)
        return begun


@dataclass(frozen=True, slots=True)
class Request:
    """One call of an LM. Equal requests have equal keys, so they share a cached reply.

    Args:
        messages: the conversation, system turn first.
        sample: the number of this sample, from 0; each sample has a separate cache entry.
        prefix: the first turns of the messages, if other requests begin with them too.
    """

    lm: LM
    messages: tuple[Message, ...]
    constraint: Constraint | None = None
    sample: int = 0
    prefix: Prefix | None = field(default=None, compare=False, repr=False)

    def key(self, weights: str = "") -> str:
        """Return the cache key: a hash of everything that can change the reply, without secrets.

        `weights` identifies the model's weights, if they are a local file.
        """
        if self.prefix is None:
            hashed = _begin_hash(
                _head(self.lm.identity_json, self.constraint, weights), self.messages
            )
        else:
            hashed = self.prefix.begin_key(self.lm, self.constraint, weights).copy()
            for message in self.messages[len(self.prefix.messages) :]:
                hashed.update(message.line())
        hashed.update(b"%d" % self.sample)
        return hashed.hexdigest()

    @property
    def embeds(self) -> bool:
        """Whether it asks for an embedding vector."""
        return bool(self.messages) and self.messages[0].role == "embed"

    def seed(self) -> int:
        """Return a seed for the server's sampler, specific to this request and sample."""
        return int(self.key()[:8], 16) & 0x7FFFFFFF

    def affinity(self) -> bytes:
        """Identify all turns but the last, so that similar requests go to the same replica."""
        return self.prefix.digest if self.prefix else _begin_hash(b"", self.messages[:-1]).digest()

    def to_json(self) -> dict[str, Any]:
        return {
            "lm": self.lm.identity(),
            "messages": [message.to_json() for message in self.messages],
            "constraint": self.constraint.to_json() if self.constraint else None,
            "sample": self.sample,
        }


def embedding_request(lm: LM, text: str) -> Request:
    """Make the request for the vector of a text."""
    # Servers refuse empty texts.
    return Request(lm, (Message("embed", text or " "),))


def _head(identity: bytes, constraint: Constraint | None, weights: str) -> bytes:
    limits = canonical_json([constraint.to_json() if constraint else None, weights])
    return identity + b"\n" + limits + b"\n"


def _begin_hash(head: bytes, messages: tuple[Message, ...]) -> _Hash:
    # No line contains a newline, so different requests give different bytes.
    return hashlib.sha256(head + b"".join(message.line() for message in messages))


@dataclass(frozen=True, slots=True)
class Reply:
    """An LM's reply to one request.

    Args:
        finish: why it stopped; `length` means that `max_tokens` was reached.
        usage: the tokens that the server counted.
        seconds: the duration of the fresh call.
        fingerprint: the server's description of itself (version, weights), for the records.
        cached: whether this copy came from a cache or a cassette.
    """

    text: str
    finish: Finish = "stop"
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0
    fingerprint: str = ""
    cached: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return everything except `cached`, which describes the copy."""
        return {
            "text": self.text,
            "finish": self.finish,
            "usage": self.usage.to_json(),
            "seconds": self.seconds,
            "fingerprint": self.fingerprint,
        }

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
        usage = Usage(prompt, completion, cached_prompt)
        return Reply(text, finish, usage, float(seconds), fingerprint, cached)

    def as_cached(self) -> Reply:
        """Return this reply marked as cached."""
        if self.cached:
            return self
        return Reply(self.text, self.finish, self.usage, self.seconds, self.fingerprint, True)
