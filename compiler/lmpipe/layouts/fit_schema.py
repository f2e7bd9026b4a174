"""Fit a JSON value to a schema where LMs deviate from it in a way that has one reading.

They wrap a value in one more object or list, write JSON in a string, keys in another case, numbers
as text, and choices with other punctuation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lmpipe.foundation.numbers import only_number
from lmpipe.layouts.find_json import read_shallow
from lmpipe.layouts.read_choice import find_choice, find_truth
from lmpipe.signatures.type_schema import each_item, resolve
from lmpipe.signatures.value_shape import shape_of

_SCALARS = ("integer", "number", "boolean", "string")
_NOT_LETTERS = re.compile(r"[\W_]+")


def fit_schema(value: Any, schema: Mapping[str, Any]) -> Any:
    """Fit a JSON value to a schema as far as that has one reading; the result may be invalid.

    Args:
        value: a JSON value.
        schema: a schema in which enums are marked; see `FieldSpec.marked_schema`.
    """
    definitions = schema.get("$defs", {})

    def fit(value: Any, schema: Any) -> Any:
        options = _options(schema, definitions)
        if value is None or len(options) != 1:
            return _fit_number(value, options) if isinstance(value, str) else value
        schema = options[0]
        kind = schema.get("type")
        if kind == "object":
            return fit_object(value, schema)
        if kind == "array":
            return fit_array(value, schema)
        inside = unwrap(value)
        value = value if isinstance(inside, dict | list) else inside
        if "enum" in schema or "const" in schema:
            return _fit_choice(value, schema)
        return _fit_scalar(value, kind) if kind in _SCALARS else value

    def fit_object(value: Any, schema: Mapping[str, Any]) -> Any:
        properties, rest = schema.get("properties", {}), schema.get("additionalProperties")
        value = _unwrap_object(value, properties)
        if not isinstance(value, dict):
            return value
        named = rename_keys(value, properties)
        return {key: fit(item, properties.get(key, rest)) for key, item in named.items()}

    def fit_array(value: Any, schema: Mapping[str, Any]) -> Any:
        value = _unwrap_array(value)
        if not isinstance(value, list):
            return value
        each = each_item(schema, value)
        return [fit(item, one) for item, one in zip(value, each, strict=True)]

    return fit(value, schema)


def rename_keys(value: dict[str, Any], properties: Mapping[str, Any]) -> dict[str, Any]:
    """Give keys that differ from those of a schema in case or punctuation its spelling."""
    if value.keys() <= properties.keys():
        return value
    known: dict[str, list[str]] = {}
    for name in properties:
        known.setdefault(_letters(name), []).append(name)
    result: dict[str, Any] = {}
    for key, item in value.items():
        names = known.get(_letters(key), [])
        new = names[0] if len(names) == 1 and names[0] not in value else key
        if new in result:
            return value  # two keys would become one
        result[new] = item
    return result


def unwrap(value: Any) -> Any:
    """Take the value out of one more object, a list of one, or a string of JSON."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return read_shallow(value)
        except ValueError:
            return value
    if isinstance(value, dict | list) and len(value) == 1:
        return next(iter(value.values() if isinstance(value, dict) else value))
    return value


def _unwrap_object(value: Any, properties: Mapping[str, Any]) -> Any:
    if isinstance(value, dict):
        known = {_letters(name) for name in properties}
        if not properties or any(_letters(key) in known for key in value):
            return value
    inside = unwrap(value)
    if isinstance(inside, str) and not isinstance(value, str):
        inside = unwrap(inside)
    return inside if isinstance(inside, dict) else value


def _unwrap_array(value: Any) -> Any:
    inside = value if isinstance(value, list) else unwrap(value)
    return inside if isinstance(inside, list) else value


def _options(schema: Any, definitions: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The schemas of the types that a value may have, other than null."""
    schema = resolve(schema, definitions)
    if not isinstance(schema, Mapping):
        return []
    options = schema.get("anyOf") or schema.get("oneOf")
    if not options:
        return [] if schema.get("type") == "null" else [schema]
    return [found for option in options for found in _options(option, definitions)]


def _fit_number(text: str, options: list[Mapping[str, Any]]) -> str:
    """Write a text as a number if that is among its types, and text is not."""
    kinds = {option.get("type") for option in options}
    number = only_number(text) if kinds & {"integer", "number"} and "string" not in kinds else None
    return number.text if number else text


def _fit_choice(value: Any, schema: Mapping[str, Any]) -> Any:
    spellings = shape_of(schema).spellings
    if isinstance(value, bool) or not isinstance(value, str | int):
        return value
    if not isinstance(value, str) and value in spellings.values():
        return value
    found = find_choice(spellings, str(value))
    return found[0] if found else value


def _fit_scalar(value: Any, kind: str) -> Any:
    if kind == "string":
        return str(value) if type(value) is int else value
    if not isinstance(value, str):
        return value
    if kind == "boolean":
        truth = find_truth(value)
        return value if truth is None else truth
    number = only_number(value)
    return number.text if number else value


def _letters(key: str) -> str:
    return _NOT_LETTERS.sub("", key).casefold()
