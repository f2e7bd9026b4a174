"""What goes to an LM and what comes back: frozen values, no I/O.

A request whose turns are of the role `embed` asks for the vectors of their texts: its reply's text
is one vector as `vectors` spells it, so that caches and cassettes keep it like any other reply.
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

# Every field of a `Request` is in one of these two; the cache key has the former, never the latter.
IN_KEY = ("lm", "messages", "constraint", "sample")
NOT_IN_KEY = ("prefix",)

_MAX_OPENED = 64


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str

    def to_json(self) -> dict[str, str]:
        return {"role": self.role, "content": self.content}

    def line(self) -> bytes:
        """The turn as one line of canonical JSON."""
        return canonical_json({"content": self.content, "role": self.role}) + b"\n"


@dataclass(frozen=True, slots=True)
class Constraint:
    """What the reply's text must look like, for servers that can enforce it while decoding.

    Args:
        kind: `json_schema` (value: a JSON schema as canonical JSON text) or `grammar`
            (value: a grammar in GBNF whose start rule is `root`).
        value: the schema or grammar as text.
    """

    kind: Literal["json_schema", "grammar"]
    value: str

    def to_json(self) -> dict[str, str]:
        return {"kind": self.kind, "value": self.value}


class Prefix:
    """The turns that many requests open with, so that hashing them is paid once for all.

    Args:
        messages: the turns.
    """

    def __init__(self, messages: tuple[Message, ...]) -> None:
        self.messages = messages
        self._opened: dict[tuple[bytes, Constraint | None, str], _Hash] = {}

    @cached_property
    def digest(self) -> bytes:
        """Stands for these turns: requests of one digest share what a server has computed."""
        return _hash_of(b"", self.messages).digest()

    def opened(self, lm: LM, constraint: Constraint | None, weights: str) -> _Hash:
        """The hash of a request's key up to the end of these turns; copy it to go on."""
        which = (lm.identity_json, constraint, weights)
        opened = self._opened.get(which)
        if opened is None:
            if len(self._opened) >= _MAX_OPENED:
                self._opened.clear()
            opened = self._opened[which] = _hash_of(_head(*which), self.messages)
        return opened


@dataclass(frozen=True, slots=True)
class Request:
    """One call of an LM. Equal requests have equal keys and so share one cached reply.

    Args:
        lm: which LM, with its decoding settings.
        messages: the conversation, system turn first.
        constraint: what the reply must look like, or None.
        sample: the number of this sample; repeated sampling counts up from 0, so that each
            sample has a cache entry of its own.
        prefix: the turns that the messages open with, where other requests have them too.
    """

    lm: LM
    messages: tuple[Message, ...]
    constraint: Constraint | None = None
    sample: int = 0
    prefix: Prefix | None = field(default=None, compare=False, repr=False)

    def key(self, weights: str = "") -> str:
        """The cache key: all that can change the reply, and no secret.

        Args:
            weights: what stands for the model's weights, where they are a file of ours.
        """
        if self.prefix is None:
            hashed = _hash_of(_head(self.lm.identity_json, self.constraint, weights), self.messages)
        else:
            hashed = self.prefix.opened(self.lm, self.constraint, weights).copy()
            for message in self.messages[len(self.prefix.messages) :]:
                hashed.update(message.line())
        hashed.update(b"%d" % self.sample)
        return hashed.hexdigest()

    @property
    def embeds(self) -> bool:
        """Whether it asks for a vector, and not for an answer."""
        return bool(self.messages) and self.messages[0].role == "embed"

    def seed(self) -> int:
        """A seed for the server's sampler that belongs to this request and sample alone."""
        return int(self.key()[:8], 16) & 0x7FFFFFFF

    def affinity(self) -> bytes:
        """Stands for all turns but the last: what replicas of a server may have computed before."""
        return self.prefix.digest if self.prefix else _hash_of(b"", self.messages[:-1]).digest()

    def to_json(self) -> dict[str, Any]:
        return {
            "lm": self.lm.identity(),
            "messages": [message.to_json() for message in self.messages],
            "constraint": self.constraint.to_json() if self.constraint else None,
            "sample": self.sample,
        }


def embedding_request(lm: LM, text: str) -> Request:
    """What asks an embedding LM for the vector of a text."""
    # Servers refuse the empty text.
    return Request(lm, (Message("embed", text or " "),))


def _head(identity: bytes, constraint: Constraint | None, weights: str) -> bytes:
    limits = canonical_json([constraint.to_json() if constraint else None, weights])
    return identity + b"\n" + limits + b"\n"


def _hash_of(head: bytes, messages: tuple[Message, ...]) -> _Hash:
    # Line by line, and no line has a newline in it: different requests have different bytes.
    return hashlib.sha256(head + b"".join(message.line() for message in messages))


@dataclass(frozen=True, slots=True)
class Reply:
    """An LM's answer to one request.

    Args:
        text: what the LM wrote.
        finish: why it stopped; `length` means that it was cut at max_tokens.
        usage: tokens as the server counted them.
        seconds: how long the fresh call took.
        fingerprint: the server's own word on what it is (version, weights), for the record.
        cached: whether this copy came from the cache or a cassette.
    """

    text: str
    finish: Finish = "stop"
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0
    fingerprint: str = ""
    cached: bool = False

    def to_json(self) -> dict[str, Any]:
        """All but `cached`, which belongs to the copy and not to the answer."""
        return {
            "text": self.text,
            "finish": self.finish,
            "usage": self.usage.to_json(),
            "seconds": self.seconds,
            "fingerprint": self.fingerprint,
        }

    @staticmethod
    def from_json(value: Any, *, cached: bool = False) -> Reply:
        """Read what `to_json` wrote.

        Raises:
            ValueError: if it is anything else.
        """
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
        if self.cached:
            return self
        return Reply(self.text, self.finish, self.usage, self.seconds, self.fingerprint, True)
