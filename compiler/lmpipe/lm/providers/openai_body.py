"""What is sent to a server that speaks OpenAI's chat completions."""

from __future__ import annotations

from typing import Any

import orjson

from lmpipe.errors import ConfigError
from lmpipe.lm.lm import Structured
from lmpipe.lm.request import Constraint, Request

# vLLM fills in what a request leaves out from the model's own generation config, so that a reply
# would depend on something that is in no cache key. These values change nothing.
_VLLM_DEFAULTS = {"top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}


def request_body(request: Request, structured: Structured) -> dict[str, Any]:
    """What is sent to the server, as JSON.

    Args:
        request: what to ask.
        structured: how the server takes constraints; a kind that it does not take is left out,
            so that the reply is held to its form by parsing only.

    Raises:
        ConfigError: if the LM's parameters ask for a stream or for several replies at once.
    """
    lm = request.lm
    if lm.params.get("stream") or lm.params.get("n") not in (None, 1):
        raise ConfigError(
            f"LM({lm.model!r}): the parameters stream and n are not supported, as a call is one "
            "whole reply: leave them out, and ask for more samples to get several replies"
        )
    body = {
        **(_VLLM_DEFAULTS if lm.provider == "vllm" else {}),
        **lm.params,
        "model": lm.adapter or lm.name,
        "messages": [message.to_json() for message in request.messages],
        "temperature": lm.temperature,
    }
    if "max_completion_tokens" not in lm.params:
        body["max_tokens"] = lm.max_tokens
    if lm.temperature > 0:
        # The LM's own seed, if any, has gone into this one: each sample needs its own.
        body["seed"] = request.seed()
    if request.constraint is not None:
        body.update(_constraint(request.constraint, structured))
    return body


def takes(structured: Structured, constraint: Constraint | None) -> bool:
    """Whether a server that takes constraints this way enforces this one."""
    return constraint is not None and bool(_constraint(constraint, structured))


def _constraint(constraint: Constraint, structured: Structured) -> dict[str, Any]:
    if structured == "none":
        return {}
    if constraint.kind == "grammar":
        match structured:
            case "vllm":
                return {"structured_outputs": {"grammar": constraint.value}}
            case "llamacpp":
                return {"grammar": constraint.value}
        return {}  # OpenAI's own interface has no field for it
    if structured == "vllm":
        return {"structured_outputs": {"json": orjson.loads(constraint.value)}}
    return {"response_format": json_schema_format(constraint)}


def json_schema_format(constraint: Constraint) -> dict[str, Any]:
    """The `response_format` for a JSON schema, strict wherever OpenAI's rules allow that."""
    schema = orjson.loads(constraint.value)
    reply = {"name": "reply", "strict": _allows_strict(schema), "schema": schema}
    return {"type": "json_schema", "json_schema": reply}


def _allows_strict(schema: Any) -> bool:
    """Whether every object is closed and has no optional property; else OpenAI answers 400."""
    if isinstance(schema, list):
        return all(map(_allows_strict, schema))
    if not isinstance(schema, dict):
        return True
    if schema.get("type") == "object":
        closed = schema.get("additionalProperties") is False
        if not closed or set(schema.get("properties", ())) != set(schema.get("required", ())):
            return False
    return all(map(_allows_strict, schema.values()))
