"""An LM for the small world that also works as a proposer: it can write any outputs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson
from helpers.world import answer_turns

import lmpipe
from lmpipe.lm.request import Request

# The outputs of the world's signatures; requests for others come from a proposer.
_WORLD_OUTPUTS = {"colour", "words"}


def proposing_lm(**settings: object) -> lmpipe.ScriptedLM:
    """Make the LM."""
    return lmpipe.ScriptedLM(answer_or_propose, **settings)  # type: ignore[arg-type]


def answer_or_propose(request: Request) -> str:
    """Reply like the world's LM, or with text that differs per sample if asked to propose."""
    schema = None
    if request.constraint is not None and request.constraint.kind == "json_schema":
        schema = orjson.loads(request.constraint.value)
    turns = [message.content for message in request.messages]
    if schema is not None and not set(schema["properties"]) <= _WORLD_OUTPUTS:
        return propose(schema, "\n".join(turns), request.sample)
    return answer_turns(turns, constrained=request.constraint is not None)


def answer_or_propose_body(body: Mapping[str, Any]) -> str:
    """Reply like `answer_or_propose` to the body of an HTTP request."""
    schema = (body.get("structured_outputs") or {}).get("json")
    turns = [str(message["content"]) for message in body["messages"]]
    if schema is not None and not set(schema["properties"]) <= _WORLD_OUTPUTS:
        return propose(schema, "\n".join(turns), body.get("seed") or 0)
    return answer_turns(turns, constrained="structured_outputs" in body)


def propose(schema: Mapping[str, Any], prompt: str, sample: int) -> str:
    """Write a JSON object that fits a schema; its text depends on the prompt and the sample."""
    digest = hashlib.sha256(f"{prompt}{sample}".encode()).hexdigest()[:6]
    return orjson.dumps(_value(schema, digest, schema.get("$defs", {}))).decode()


def _value(part: Mapping[str, Any], digest: str, defined: Mapping[str, Any]) -> Any:
    if "$ref" in part:
        part = defined[part["$ref"].rpartition("/")[2]]
    if "enum" in part:
        return part["enum"][int(digest, 16) % len(part["enum"])]
    kind = part.get("type", "object" if "properties" in part else "string")
    if kind == "object":
        parts = part["properties"].items()
        return {name: _value(each, digest, defined) for name, each in parts}
    if kind == "array":
        return [_value(part["items"], digest, defined)]
    plain = {"boolean": True, "integer": 1, "number": 0.5}
    return plain.get(kind, f"Look at the thing well ({digest}) and name its colour.")
