"""OpenRouter's `reasoning_details`: the thoughts of every provider's models in one form.

A later turn has to give them back unchanged and in order: they hold signatures, and thoughts that
only their provider can read. Source: openrouter.ai/docs/use-cases/reasoning-tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from lmpipe.lm.parts import ReasoningPart

NAME = "reasoning_details"
_TYPES = "reasoning."  # the beginning of their types
_TEXTS = ("text", "summary")
_SIGNED = "reasoning.text"


def details_of(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The details in a message or in a piece of one; litellm puts them beside its own fields."""
    own = message.get("provider_specific_fields")
    found = message.get(NAME) or (own.get(NAME) if isinstance(own, Mapping) else None)
    return list(filter(_is_detail, found)) if isinstance(found, list) else []


def join_details(pieces: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Join streamed details: the pieces of one have its type and index, and follow each other."""
    joined: list[dict[str, Any]] = []
    for piece in pieces:
        last = joined[-1] if joined else {}
        if not joined or any(last.get(name) != piece.get(name) for name in ("type", "index")):
            joined.append(dict(piece))
            continue
        for name, value in piece.items():
            if name in _TEXTS and isinstance(value, str):
                last[name] = (last.get(name) or "") + value
            elif value is not None:
                last[name] = value
    return joined


def signature_of_details(details: Sequence[Mapping[str, Any]]) -> str:
    """Write details as the signature of their thoughts; empty if there are none."""
    return orjson.dumps(list(details)).decode() if details else ""


def reasoning_details(thoughts: Sequence[ReasoningPart]) -> list[dict[str, Any]]:
    """The details that some thoughts came in; none if they came from another provider.

    Anthropic refuses a thought without its signature, which a stream through litellm may lack.
    """
    return [
        detail
        for part in thoughts
        for detail in filter(_is_detail, _read(part.signature))
        if not _lacks_signature(detail)
    ]


def _read(signature: str) -> list[Any]:
    try:
        found = orjson.loads(signature)
    except orjson.JSONDecodeError:
        return []  # a signature of another form
    return found if isinstance(found, list) else []


def _lacks_signature(detail: Mapping[str, Any]) -> bool:
    signed = str(detail.get("format")).startswith("anthropic") and detail["type"] == _SIGNED
    return signed and not detail.get("signature")


def _is_detail(value: object) -> bool:
    return isinstance(value, dict) and str(value.get("type", "")).startswith(_TYPES)
