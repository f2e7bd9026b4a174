"""A JSON schema in brief, as the exported readers check values by it.

A check keeps only what pydantic writes of a schema, each thing under one name, so that the readers
stay short: `is` (the type), `of` (the allowed values), `low` and `high` (the bounds of a
number, a length or a count), `match`, `any`, `ref`, `items`, `places`, `set`, `keys`, `needs`,
`defaults` and `rest`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import Any

from lmpipe.signatures.signature_spec import FieldSpec
from lmpipe.signatures.type_schema import schema_generator, without_marks

# The end of a text, in the regular expressions of all languages.
END = r"(?![\s\S])"
LARGEST = 1.7976931348623157e308
LONGEST = 2**53

_DAY = r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
# The forms in which pydantic writes these formats. Others that mean the same are refused.
_FORMATS = {
    "date": _DAY,
    "date-time": rf"{_DAY}T{_TIME}(?:Z|[+-](?!00:00)[0-9]{{2}}:[0-9]{{2}})?",
    "time": _TIME,
    "uuid": r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
}


def schema_of(field: FieldSpec) -> dict[str, Any]:
    """The JSON schema of a field, with the defaults of factories, which pydantic leaves out."""
    made = field.type_adapter.json_schema(schema_generator=_generator())
    schema: dict[str, Any] = without_marks(made)
    return schema


@cache
def _generator() -> Any:
    class WithFactories(schema_generator()):  # type: ignore[misc]
        def default_schema(self, schema: Any) -> Any:
            factory = schema.get("default_factory")
            if factory is not None and not schema.get("default_factory_takes_data"):
                schema = {**schema, "default": factory()}
            return super().default_schema(schema)

    return WithFactories


def check_of(field: FieldSpec, types: dict[str, Any]) -> dict[str, Any]:
    """The check of a field's values; the definitions that it refers to are added to `types`."""
    schema = schema_of(field)
    for name, definition in schema.get("$defs", {}).items():
        types[f"{field.name}.{name}"] = _check(definition, field.name)
    return _check(schema, field.name)


def _check(schema: Any, owner: str) -> dict[str, Any]:
    if not isinstance(schema, Mapping):
        return {}
    if "$ref" in schema:
        return {"ref": f"{owner}.{schema['$ref'].rpartition('/')[2]}"}
    options = schema.get("anyOf") or schema.get("oneOf")
    if options:
        return {"any": [_check(option, owner) for option in options]}
    if "const" in schema or "enum" in schema:
        return {"of": schema.get("enum", [schema.get("const")])}
    kind = schema.get("type")
    if kind is None:
        return {}
    check = {"is": kind, **bounds_of(schema)}
    if kind == "string" and (match := match_of(schema)):
        check["match"] = match
    if kind == "array":
        places = [_check(item, owner) for item in schema.get("prefixItems", ())]
        items = _check(schema.get("items"), owner)
        check |= {"places": places, "items": items, "set": schema.get("uniqueItems", False)}
    if kind == "object":
        check |= _object(schema, owner)
    return check


def _object(schema: Mapping[str, Any], owner: str) -> dict[str, Any]:
    keys = schema.get("properties", {})
    rest = schema.get("additionalProperties", None if keys else True)
    return {
        "keys": {name: _check(item, owner) for name, item in keys.items()},
        "needs": list(schema.get("required", ())),
        "defaults": {name: item["default"] for name, item in keys.items() if "default" in item},
        # What other keys hold: anything of a check; none may be there (false), or they are dropped.
        "rest": rest if rest in (None, False) else _check(rest, owner),
    }


def bounds_of(schema: Mapping[str, Any]) -> dict[str, float]:
    """The lowest and the highest number, length or count."""
    whole = schema.get("type") == "integer"
    bounds: dict[str, float] = {}
    for key, name in _BOUNDS.items():
        if key in schema:
            bounds[name] = schema[key]
    if "exclusiveMinimum" in schema:
        low = schema["exclusiveMinimum"]
        bounds["low"] = low + 1 if whole else math.nextafter(low, math.inf)
    if "exclusiveMaximum" in schema:
        high = schema["exclusiveMaximum"]
        bounds["high"] = high - 1 if whole else math.nextafter(high, -math.inf)
    return bounds


_BOUNDS = {
    **dict.fromkeys(("minimum", "minLength", "minItems"), "low"),
    **dict.fromkeys(("maximum", "maxLength", "maxItems"), "high"),
}


def match_of(schema: Mapping[str, Any]) -> str:
    """The regular expression of a text; empty if it may be any."""
    known = _FORMATS.get(schema.get("format", ""))
    pattern: str = schema.get("pattern", "")
    return f"^(?:{known}){END}" if known else pattern
