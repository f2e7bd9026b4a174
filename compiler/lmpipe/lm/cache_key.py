"""The cache key of a request: a hash of everything that can change the reply, without secrets."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lmpipe.foundation.canonical_json import canonical_json
from lmpipe.lm.lm import LM
from lmpipe.lm.message import Constraint, Message

if TYPE_CHECKING:
    from hashlib import _Hash

# Every field of a `Request` is in one of these; the cache key contains only the first.
IN_KEY = ("lm", "messages", "constraint", "sample", "tools", "tool_choice")
NOT_IN_KEY = ("prefix",)

_MAX_KNOWN = 64


def cache_key(
    lm: LM,
    messages: tuple[Message, ...],
    constraint: Constraint | None,
    sample: int,
    *,
    tools: Mapping[str, Any] | None,
    prefix: Prefix | None,
    weights: str,
) -> str:
    """Hash a request; `Request.key` describes the arguments."""
    if prefix is None:
        hashed, lines = _begin_hash(_head(lm.identity_json, constraint, weights), messages), b""
    else:
        hashed = prefix.begin_key(lm, constraint, weights).copy()
        own = messages[len(prefix.messages) :]
        # As a rule, there is one. One update takes less than two.
        lines = own[0].line() if len(own) == 1 else b"".join([turn.line() for turn in own])
    hashed.update(lines + b"%d" % sample)
    if tools:
        hashed.update(b"\n" + canonical_json(tools))
    return hashed.hexdigest()


class Prefix:
    """The first turns of many requests, which are hashed once for all of them."""

    def __init__(self, messages: tuple[Message, ...]) -> None:
        self.messages = messages
        self._known: dict[tuple[bytes, Constraint | None, str], _Hash] = {}

    @cached_property
    def digest(self) -> bytes:
        """The hash of these turns: servers can reuse their work on prompts with the same one."""
        return hash_messages(self.messages).digest()

    def begin_key(self, lm: LM, constraint: Constraint | None, weights: str) -> _Hash:
        """Return the hash of a cache key up to the end of these turns; copy it to continue."""
        which = (lm.identity_json, constraint, weights)
        begun = self._known.get(which)
        if begun is None:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            begun = self._known[which] = _begin_hash(_head(*which), self.messages)
        return begun


def _head(identity: bytes, constraint: Constraint | None, weights: str) -> bytes:
    limits = canonical_json([constraint.to_json() if constraint else None, weights])
    return identity + b"\n" + limits + b"\n"


def hash_messages(messages: tuple[Message, ...]) -> _Hash:
    """Hash turns alone, without an LM."""
    return _begin_hash(b"", messages)


def _begin_hash(head: bytes, messages: tuple[Message, ...]) -> _Hash:
    # No line contains a newline, so different requests give different bytes.
    return hashlib.sha256(head + b"".join(message.line() for message in messages))
