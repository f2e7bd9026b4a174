"""The small world's LM, which is its own proposer too: whatever it is asked to write, it writes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson
from helpers.world import answer_turns

import lmpipe
from lmpipe.lm.request import Request

# The outputs of the world's own signatures; all else is asked of a proposer.
_WORLD = {"colour", "words"}


def answer_or_write(request: Request) -> str:
    """Answer like the world's LM; write text, another one for each sample, if asked to propose."""
    schema = None
    if request.constraint is not None and request.constraint.kind == "json_schema":
        schema = orjson.loads(request.constraint.value)
    turns = [message.content for message in request.messages]
    if schema is not None and not set(schema["properties"]) <= _WORLD:
        return write(schema, "\n".join(turns), request.sample)
    return answer_turns(turns, constrained=request.constraint is not None)


def answer_or_write_body(body: Mapping[str, Any]) -> str:
    """`answer_or_write`, for a server that sees the HTTP request's body."""
    schema = (body.get("structured_outputs") or {}).get("json")
    turns = [str(message["content"]) for message in body["messages"]]
    if schema is not None and not set(schema["properties"]) <= _WORLD:
        return write(schema, "\n".join(turns), body.get("seed") or 0)
    return answer_turns(turns, constrained="structured_outputs" in body)


def write(schema: Mapping[str, Any], asked: str, sample: int) -> str:
    """One JSON object that fits a schema, with words that depend on what was asked."""
    digest = hashlib.sha256(f"{asked}{sample}".encode()).hexdigest()[:6]
    values = {name: _value(part, digest) for name, part in schema["properties"].items()}
    return orjson.dumps(values).decode()


def _value(part: Mapping[str, Any], digest: str) -> Any:
    if "enum" in part:
        return part["enum"][int(digest, 16) % len(part["enum"])]
    kind = part.get("type", "string")
    if kind == "array":
        return [_value(part["items"], digest)]
    plain = {"boolean": True, "integer": 1, "number": 0.5}
    return plain.get(kind, f"Look at the thing well ({digest}) and name its colour.")


def writer(**settings: object) -> lmpipe.ScriptedLM:
    return lmpipe.ScriptedLM(answer_or_write, **settings)  # type: ignore[arg-type]
