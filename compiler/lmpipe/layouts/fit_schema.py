"""Fit a JSON value to a schema where LMs deviate from it in a way that has one reading.

They wrap a value in one more object or list, write JSON in a string, keys in another case, numbers
and dates as people write them, lists as lines, and choices with other punctuation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any

from lmpipe.layouts.find_json import read_shallow
from lmpipe.layouts.read_choice import find_choice
from lmpipe.layouts.read_list import read_list
from lmpipe.layouts.read_scalar import is_moment, read_scalar
from lmpipe.signatures.type_schema import MARK, each_item, resolve
from lmpipe.signatures.value_shape import Shape, shape_of

_SCALARS = ("integer", "number", "boolean", "string")
_WHOLE = re.compile(r"-?\d{1,400}", re.ASCII)
_NOT_LETTERS = re.compile(r"[\W_]+")
_Schema = Mapping[str, Any]


def fit_schema(value: Any, schema: _Schema) -> Any:
    """Fit a JSON value to a schema as far as that has one reading; the result may be invalid.

    Args:
        value: a JSON value.
        schema: a schema in which enums are marked; see `FieldSpec.marked_schema`.
    """
    return _Fitter(schema.get("$defs", {})).fit(value, schema)


class _Fitter:
    """Fits values to schemas that refer to the same definitions."""

    def __init__(self, definitions: _Schema) -> None:
        self._definitions = definitions

    def fit(self, value: Any, schema: Any) -> Any:
        options = options_of(schema, self._definitions)
        if value is None or not options:
            return value
        if len(options) > 1:
            return self._fit_union(value, resolve(schema, self._definitions), options)
        schema = options[0]
        kind = schema.get("type")
        if kind == "object":
            return self._fit_object(value, schema)
        if kind == "array":
            return self._fit_array(value, schema)
        inside = unwrap(value)
        value = value if isinstance(inside, dict | list) else inside
        known = kind in _SCALARS or "enum" in schema or "const" in schema
        return _fit_scalar(value, shape_of(schema)) if known else value

    def _fit_object(self, value: Any, schema: _Schema) -> Any:
        properties, rest = schema.get("properties", {}), schema.get("additionalProperties")
        value = _unwrap_object(value, properties)
        if not isinstance(value, dict):
            return value
        named = rename_keys(value, properties)
        return {key: self.fit(item, properties.get(key, rest)) for key, item in named.items()}

    def _fit_array(self, value: Any, schema: _Schema) -> Any:
        value = _unwrap_array(value)
        if isinstance(value, str):
            value = next(read_list(value, schema, self._definitions), value)
        if not isinstance(value, list):
            return value
        each = each_item(schema, value)
        return [self.fit(item, one) for item, one in zip(value, each, strict=True)]

    def _fit_union(self, value: Any, schema: _Schema, options: list[_Schema]) -> Any:
        """Fit a value to the only type of a union that it can have; else it stays."""
        if isinstance(value, str) and value.lstrip()[:1] not in ("{", "["):
            return _fit_text(value, options)
        if isinstance(value, dict):
            chosen = self._named_option(value, schema) or self._option_with_keys(value, options)
            return value if chosen is None else self._fit_object(value, chosen)
        arrays = [option for option in options if option.get("type") == "array"]
        return self._fit_array(value, arrays[0]) if value and len(arrays) == 1 else value

    def _named_option(self, value: dict[str, Any], schema: _Schema) -> _Schema | None:
        """The type that an object names in the key that tells the types of its union apart."""
        discriminator = schema.get("discriminator", {})
        key, mapping = discriminator.get("propertyName"), discriminator.get("mapping", {})
        named = rename_keys(value, {key: None}) if key else {}
        found = find_choice(mapping, str(named[key])) if key in named else None
        return resolve({"$ref": found[0]}, self._definitions) if found else None

    def _option_with_keys(self, value: dict[str, Any], options: list[_Schema]) -> _Schema | None:
        """The only object type of a union that has all keys of an object, and no others."""
        found = []
        for option in options:
            properties = option.get("properties", {})
            keys = rename_keys(value, properties).keys()
            if option.get("type") == "object" and (
                set(option.get("required", ())) <= keys <= properties.keys()
            ):
                found.append(option)
        return found[0] if len(found) == 1 else None


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


def options_of(schema: Any, definitions: _Schema) -> list[_Schema]:
    """The schemas of the types that a value may have, other than null.

    A Decimal, which has a schema for numbers and one for texts, is a number.
    """
    schema = resolve(schema, definitions)
    if not isinstance(schema, Mapping):
        return []
    options = schema.get("anyOf") or schema.get("oneOf")
    if not options:
        return [] if schema.get("type") == "null" else [schema]
    found = [each for option in options for each in options_of(option, definitions)]
    if any(option.get(MARK) is Decimal for option in found):
        found = [option for option in found if option.get("type") != "string"]
    return found


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


def _fit_text(text: str, options: list[_Schema]) -> Any:
    """Read a text as the only type of a union that it can have, if no type takes all texts."""
    if " or " in text:
        return text
    readings: dict[Any, Any] = {}
    for option in options:
        shape = shape_of(option)
        if shape.kind == "text" and not is_moment(shape):
            return text
        if shape.kind == "json":
            continue
        with suppress(ValueError):
            reading = read_scalar(shape, text)
            # An integer and a float of one text are one reading, though one has an exponent.
            number = shape.kind in ("integer", "number")
            readings.setdefault(
                Decimal(reading) if number else (shape.kind, reading),
                _whole(reading) if number else reading,
            )
    return next(iter(readings.values())) if len(readings) == 1 else text


def _whole(reading: Any) -> Any:
    """Digits as an integer: beside other types, their text may be taken for a date."""
    is_whole = isinstance(reading, str) and _WHOLE.fullmatch(reading)
    return int(reading) if is_whole else reading


def _fit_scalar(value: Any, shape: Shape) -> Any:
    if shape.kind == "choice":
        if isinstance(value, bool) or not isinstance(value, str | int):
            return value
        if not isinstance(value, str) and value in shape.spellings.values():
            return value
        value = str(value)
    elif shape.kind == "text" and type(value) is int and not is_moment(shape):
        return str(value)
    if not isinstance(value, str):
        return value
    try:
        reading = read_scalar(shape, value)
    except ValueError:
        return value
    return _whole(reading) if shape.kind == "integer" else reading


def _letters(key: str) -> str:
    return _NOT_LETTERS.sub("", key).casefold()
