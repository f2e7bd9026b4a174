"""Requests to an LM and its replies: frozen values, no I/O.

A request whose turns have the role `embed` asks for the vectors of their texts. The text of its
reply is one vector, encoded by `foundation.vectors`, so caches and cassettes store it like any
other reply.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from lmpipe.lm.cache_key import Prefix, cache_key, hash_messages
from lmpipe.lm.lm import LM
from lmpipe.lm.message import Constraint, Message
from lmpipe.state.usage import Usage

if TYPE_CHECKING:
    pass

Finish = Literal["stop", "length", "other"]
_FINISHES = frozenset(get_args(Finish))


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
        return cache_key(
            self.lm,
            self.messages,
            self.constraint,
            self.sample,
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
        }


def embedding_request(lm: LM, text: str) -> Request:
    """Make the request for the vector of a text."""
    # Servers refuse empty texts.
    return Request(lm, (Message("embed", text or " "),))


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
