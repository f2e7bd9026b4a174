"""What OpenAI's strict structured outputs, and those that copy it, refuse in a schema.

Source: platform.openai.com/docs/guides/structured-outputs, «supported schemas».
"""

from __future__ import annotations

from typing import Any

from helpers.provider_servers.server import names

# Of strings, arrays and objects; the guide lists what is supported.
_UNSUPPORTED = names(
    """
    allOf not dependentRequired dependentSchemas if then else uniqueItems contains minContains
    maxContains patternProperties unevaluatedProperties propertyNames minProperties maxProperties
    """
)


def schema_fault(schema: Any, context: tuple[str, ...] = ()) -> str:
    """Say why a schema is refused; empty if it is not."""
    if not context and schema.get("type") != "object":
        kind = schema.get("type", "None")
        return f"schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{kind}\"'."
    here = f"In context={context!r}, "
    if unsupported := sorted(schema.keys() & _UNSUPPORTED):
        return f"{here}'{unsupported[0]}' is not permitted."
    if schema.get("type") == "object":
        if schema.get("additionalProperties") is not False:
            return f"{here}'additionalProperties' is required to be supplied and to be false."
        properties, required = schema.get("properties", {}), schema.get("required", [])
        if missing := [name for name in properties if name not in required]:
            return (
                f"{here}'required' is required to be supplied and to be an array including every "
                f"key in properties. Missing '{missing[0]}'."
            )
    for name, inner in _inner(schema):
        if fault := schema_fault(inner, (*context, *name)):
            return fault
    return ""


def _inner(schema: Any) -> list[tuple[tuple[str, ...], Any]]:
    found = [
        ((group, name), inner)
        for group in ("properties", "$defs")
        for name, inner in schema.get(group, {}).items()
    ]
    found += [(("anyOf", str(i)), inner) for i, inner in enumerate(schema.get("anyOf", ()))]
    if isinstance(schema.get("items"), dict):
        found.append((("items",), schema["items"]))
    return found
