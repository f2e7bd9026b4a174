"""Thoughts that a provider signs: it wants them back as they were, in later turns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from lmpipe.lm.parts import ReasoningPart
from lmpipe.lm.providers.reasoning_details import reasoning_details


def thinking_blocks(part: ReasoningPart) -> list[dict[str, Any]]:
    """The signed blocks that some thoughts came in; none if they are not signed.

    `signature_of` wrote the signature.
    """
    try:
        blocks = orjson.loads(part.signature)
    except orjson.JSONDecodeError:
        blocks = None  # the signature of one block
    if isinstance(blocks, list):
        return [] if reasoning_details([part]) else blocks
    block = {"type": "thinking", "thinking": part.text, "signature": part.signature}
    return [block] if part.signature else []


def signature_of(blocks: Sequence[Any], thoughts: str) -> str:
    """The signature of thoughts that came in these blocks; empty if they are not signed.

    It is that of the only block, or all blocks as JSON: their provider wants them back unchanged.
    """
    signed = [_bare(block) for block in blocks if isinstance(block, dict)]
    signed = [block for block in signed if block.get("signature") or block.get("data")]
    if len(signed) == 1 and signed[0].get("thinking") == thoughts and "signature" in signed[0]:
        return str(signed[0]["signature"])
    return orjson.dumps(signed).decode() if signed else ""


def _bare(block: dict[str, Any]) -> dict[str, Any]:
    """What a provider takes back of a block, without what belongs to a stream."""
    names = ("type", "thinking", "signature", "data")
    return {name: block[name] for name in names if isinstance(block.get(name), str)}


def join_blocks(blocks: Sequence[Any]) -> list[dict[str, Any]]:
    """Join the pieces of streamed blocks, which name the index of their block."""
    joined: dict[Any, dict[str, Any]] = {}
    for piece in blocks:
        if not isinstance(piece, dict):
            continue
        whole = joined.setdefault(piece.get("index"), {})
        for name, text in _bare(piece).items():
            whole[name] = whole.get(name, "") + text if name in ("thinking", "signature") else text
    return list(joined.values())
