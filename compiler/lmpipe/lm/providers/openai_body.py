"""The JSON body of a chat completion request in OpenAI's format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmpipe.errors import ConfigError
from lmpipe.foundation.exact_json import load_json
from lmpipe.lm.arguments import Structured
from lmpipe.lm.lm import LM
from lmpipe.lm.message import Constraint
from lmpipe.lm.parameters import VLLM_DEFAULTS
from lmpipe.lm.providers.openai_turns import openai_turns, tool_fields
from lmpipe.lm.providers.reasoning_fields import reasoning_fields, with_reasoning
from lmpipe.lm.request import Request

# The fields without which a request has no meaning; all others can be left out.
NEEDED = ("model", "messages", "input", "stream", "n", "tools", "tool_choice")


def request_body(request: Request, structured: Structured) -> dict[str, Any]:
    """Build the body of a request.

    A constraint that is not supported in the server's form, `structured`, is left out; then only
    parsing enforces the reply's format. Raises a ConfigError for the parameters `stream` and `n`.
    """
    lm = request.lm
    if lm.params.get("stream") or lm.params.get("n") not in (None, 1):
        raise ConfigError(
            f"LM({lm.model!r}): the parameters stream and n are not supported, because a call "
            "returns one whole reply: leave them out, and draw more samples for several replies"
        )
    body = {
        **(_vllm_defaults(lm) if lm.provider == "vllm" else {}),
        **with_reasoning(reasoning_fields(lm), lm.taken_params),
        "model": lm.adapter or lm.name,
        "messages": openai_turns(request, "vllm" if lm.provider == "vllm" else "openai"),
        **sent_decoding(request),
        **tool_fields(request),
    }
    body.pop("stream_options", None)  # only for streams
    if None in body.values():  # what is None is left to the server
        body = {name: value for name, value in body.items() if value is not None}
    if request.constraint is not None:
        body.update(_constraint(request.constraint, structured))
    return body


def sent_decoding(request: Request) -> dict[str, Any]:
    """The temperature, limit and seed of a request, as far as they are sent."""
    lm, sent = request.lm, dict[str, Any]()
    if lm.temperature is not None:
        sent["temperature"] = lm.temperature
    if lm.max_tokens is not None and lm.taken_params.get("max_completion_tokens") is None:
        sent[lm.limit_name] = lm.max_tokens
    if _is_seeded(lm):
        sent["seed"] = request.seed()
    return sent


def _vllm_defaults(lm: LM) -> Mapping[str, float]:
    if lm.thinks and lm.temperature is None:
        return {}  # it samples by its own settings, which belong together
    if not lm.takes:
        return VLLM_DEFAULTS
    return {k: value for k, value in VLLM_DEFAULTS.items() if lm.accepts(k) is not False}


def _is_seeded(lm: LM) -> bool:
    """Whether samples get a seed: each its own, derived from the LM's seed if it has one."""
    if lm.params.get("seed", ...) is None or lm.accepts("seed") is False:
        return False
    if lm.temperature is not None:
        return lm.temperature > 0
    return "seed" in lm.params or (lm.provider == "vllm" and lm.thinks)


def stream_fields(lm: LM) -> dict[str, Any]:
    """The fields that ask for a stream, with its usage at the end unless the LM says otherwise."""
    options = lm.params.get("stream_options", {"include_usage": True})
    if options is None or lm.accepts("stream_options") is False:
        return {"stream": True}
    return {"stream": True, "stream_options": options}


def enforces(structured: Structured, constraint: Constraint | None) -> bool:
    """Whether a server that takes constraints in this form enforces this one."""
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
        return {}  # OpenAI's API has no field for grammars
    if structured == "vllm":
        return {"structured_outputs": {"json": load_json(constraint.value)}}
    return {"response_format": json_schema_format(constraint)}


def json_schema_format(constraint: Constraint) -> dict[str, Any]:
    """The `response_format` for a JSON schema; strict where OpenAI's rules allow it."""
    schema = load_json(constraint.value)
    reply = {"name": "reply", "strict": _allows_strict(schema), "schema": schema}
    return {"type": "json_schema", "json_schema": reply}


def _allows_strict(schema: Any) -> bool:
    """Whether each object is closed and has no optional property; OpenAI rejects others."""
    if isinstance(schema, list):
        return all(map(_allows_strict, schema))
    if not isinstance(schema, dict):
        return True
    if schema.get("type") == "object":
        closed = schema.get("additionalProperties") is False
        if not closed or set(schema.get("properties", ())) != set(schema.get("required", ())):
            return False
    return all(map(_allows_strict, schema.values()))
