"""Tools for the embedded engine: how it is asked for calls, and calls that models write as text.

llama.cpp renders tools through the model's chat template and reads the calls that follow it. Small
models often write a call without the template's tags, and where a call is required, llama.cpp lets
them write any text before it. So a required call is asked for as a JSON object, and a reply that is
nothing but calls is read as such. If any tool may be called, the object begins with a thought:
small models that choose at once call the first tool that fits, and take its result for the answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from lmpipe.foundation.exact_json import dump_json, load_json
from lmpipe.lm.parts import ToolCall, ToolSpec
from lmpipe.lm.providers.openai_turns import tool_fields
from lmpipe.lm.request import Request

# What models write around calls: the tags of chat templates, and fences of code.
_AROUND = re.compile(r"</?tool_call>|^```(?:json)?\s*$", re.MULTILINE)
_DEFINED = "#/$defs/"
_FREE_CHOICES = ("", "auto", "none")
_THOUGHT = "thought"


def tool_body(request: Request) -> dict[str, Any]:
    """The fields of a request that offer its tools; empty if it has none."""
    fields = tool_fields(request)
    if not fields or request.tool_choice in _FREE_CHOICES:
        return fields
    tools = [tool for tool in request.tools if request.tool_choice in ("required", tool.name)]
    definitions: dict[str, Any] = {}
    thinks = request.tool_choice == "required"
    schemas = [_call_schema(tool, definitions, thinks=thinks) for tool in tools]
    schema: dict[str, Any] = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
    if definitions:
        schema["$defs"] = definitions
    form = {"type": "json_schema", "json_schema": {"name": "call", "schema": schema}}
    return {"tools": fields["tools"], "tool_choice": "auto", "response_format": form}


def is_forced(request: Request) -> bool:
    """Whether the reply must be a call."""
    return bool(request.tools) and request.tool_choice not in _FREE_CHOICES


def _call_schema(tool: ToolSpec, definitions: dict[str, Any], *, thinks: bool) -> dict[str, Any]:
    """The schema of a call; what its parameters define is added to the definitions of all."""
    parameters = _with_own_names(load_json(tool.parameters), tool.name)
    for name, defined in parameters.pop("$defs", {}).items():
        definitions[f"{tool.name}.{name}"] = defined
    properties = {"name": {"const": tool.name}, "arguments": parameters}
    if thinks:
        properties = {_THOUGHT: {"type": "string"}, **properties}
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _with_own_names(schema: Any, tool: str) -> Any:
    """Put the tool's name before those that a schema refers to, which other tools may use too."""
    if isinstance(schema, list):
        return [_with_own_names(item, tool) for item in schema]
    if not isinstance(schema, dict):
        return schema
    renamed = {key: _with_own_names(value, tool) for key, value in schema.items()}
    reference = renamed.get("$ref")
    if isinstance(reference, str) and reference.startswith(_DEFINED):
        renamed["$ref"] = f"{_DEFINED}{tool}.{reference.removeprefix(_DEFINED)}"
    return renamed


def calls_in_text(text: str, tools: Sequence[ToolSpec]) -> tuple[ToolCall, ...]:
    """The calls of these tools that a text consists of; none if it holds anything else."""
    if "{" not in text:
        return ()
    rest = _AROUND.sub(" ", text).strip()
    names = {tool.name for tool in tools}
    calls: list[ToolCall] = []
    decoder = json.JSONDecoder()
    while rest:
        try:
            value, end = decoder.raw_decode(rest)
        except (ValueError, RecursionError):
            return ()
        rest = rest[end:].lstrip()
        for item in value if isinstance(value, list) else [value]:
            call = _call_of(item, names, len(calls))
            if call is None:
                return ()
            calls.append(call)
    return tuple(calls)


def thought_in(text: str) -> str:
    """The thought in a text that is a required call; empty if it has none."""
    with suppress(ValueError, RecursionError):
        value = load_json(text)
        if isinstance(value, dict) and isinstance(value.get(_THOUGHT), str):
            return str(value[_THOUGHT]).strip()
    return ""


def _call_of(value: Any, names: set[str], number: int) -> ToolCall | None:
    match value:
        case {"name": str(name), "arguments": dict(arguments), **rest}:
            pass
        case {"name": str(name), "parameters": dict(arguments), **rest}:  # Llama's word for them
            pass
        case _:
            return None
    if name not in names or rest.keys() - {_THOUGHT}:
        return None
    return ToolCall(f"call_{number}", name, dump_json(arguments).decode())
