"""What goes to an LM and what comes back: frozen values, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from lmpipe.canonical import digest
from lmpipe.lm.lm import LM

Role = Literal["system", "user", "assistant"]
Finish = Literal["stop", "length", "other"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str

    def to_json(self) -> dict[str, str]:
        return {"role": self.role, "content": self.content}


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


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call or the sum over many."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_prompt_tokens: int = 0

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cached_prompt_tokens + other.cached_prompt_tokens,
        )

    def to_json(self) -> dict[str, int]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "cached_prompt_tokens": self.cached_prompt_tokens,
        }


@dataclass(frozen=True, slots=True)
class Request:
    """One call of an LM. Equal requests have equal keys and so share one cached reply.

    Args:
        lm: which LM, with its decoding settings.
        messages: the conversation, system turn first.
        constraint: what the reply must look like, or None.
        sample: the number of this sample; repeated sampling counts up from 0, so that each
            sample has a cache entry of its own.
    """

    lm: LM
    messages: tuple[Message, ...]
    constraint: Constraint | None = None
    sample: int = 0

    def key(self, weights: str = "") -> str:
        """The cache key: all that can change the reply, and no secret.

        Args:
            weights: what stands for the model's weights, where they are a file of ours.
        """
        return digest({**self.to_json(), "weights": weights})

    def seed(self) -> int:
        """A seed for the server's sampler that belongs to this request and sample alone."""
        return int(self.key()[:8], 16) & 0x7FFFFFFF

    def to_json(self) -> dict[str, Any]:
        return {
            "lm": self.lm.identity(),
            "messages": [message.to_json() for message in self.messages],
            "constraint": self.constraint.to_json() if self.constraint else None,
            "sample": self.sample,
        }


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
    def from_json(value: Mapping[str, Any]) -> Reply:
        """Read back what `to_json` wrote.

        Raises:
            ValueError: if it is something else.
        """
        try:
            reply = Reply(
                text=value["text"],
                finish=value["finish"],
                usage=Usage(**value["usage"]),
                seconds=float(value["seconds"]),
                fingerprint=value["fingerprint"],
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a recorded reply: {error}") from error
        if not isinstance(reply.text, str):
            raise ValueError("not a recorded reply: its text is no string")
        return reply

    def as_cached(self) -> Reply:
        return replace(self, cached=True)
