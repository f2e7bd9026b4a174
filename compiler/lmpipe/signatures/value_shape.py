"""How values of a type are written in a prompt, derived from its JSON schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import Enum
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from lmpipe.foundation.canonical_json import canonical_json
from lmpipe.signatures.field_types.code import Code
from lmpipe.signatures.type_schema import MARK, is_opaque, resolve

Kind = Literal["text", "date", "choice", "integer", "number", "boolean", "json"]


@dataclass(frozen=True, slots=True)
class Shape:
    """How the values of one field are written.

    Args:
        optional: whether None is allowed.
        choices: the values of a `choice`, as they are shown.
        enum: the enum that has these choices, or None.
        format: the format of a `text` in its JSON schema, such as `date-time`, or the empty string.
        max_length: the maximum number of characters of a `text`, or None.
        container: `object` or `array` if a `json` value must be one, else the empty string.
        maximum: what a number may not exceed, or None.
    """

    kind: Kind
    optional: bool = False
    choices: tuple[Any, ...] = ()
    max_length: int | None = None
    container: str = ""
    enum: type[Enum] | None = None
    words: str = ""
    format: str = ""
    maximum: float | None = None

    @property
    def spellings(self) -> dict[str, Any]:
        """The values of a choice by the texts that stand for them, those that are shown first."""
        if self.enum is None:
            return {str(choice): choice for choice in self.choices}
        opaque = is_opaque(self.enum)
        by_name: dict[str, Any] = {
            name: member if opaque else member.value
            for name, member in self.enum.__members__.items()
            if (member.name if opaque else member.value) in self.choices
        }
        by_value = {str(self.enum[name].value): value for name, value in by_name.items()}
        return {**by_name, **by_value} if opaque else {**by_value, **by_name}

    @property
    def none(self) -> str:
        """The word for None, which differs from a choice that is called "none"."""
        return "null" if "none" in {str(choice).casefold() for choice in self.choices} else "none"

    def hint(self) -> str:
        """Describe the form to the LM."""
        words = {
            "text": self.words or "text",
            "date": "a date as YYYY-MM-DD",
            "integer": "a whole number",
            "number": "a number",
            "boolean": "yes or no",
            "json": "JSON",
            "choice": f"one of {', '.join(str(choice) for choice in self.choices)}",
        }
        return words[self.kind] + (f", or {self.none}" if self.optional else "")


def shape_of(schema: Mapping[str, Any], annotation: Any = None) -> Shape:
    """Derive the shape of a field from the JSON schema of its values.

    The annotation tells a Decimal, which has an ambiguous schema, and what language code is in.
    """
    shape = _shape_of(schema, annotation)
    code = plain_type(annotation) if shape.kind == "text" else None
    if isinstance(code, type) and issubclass(code, Code):
        return replace(shape, words=code.words())
    return shape


def _shape_of(schema: Mapping[str, Any], annotation: Any) -> Shape:
    definitions = schema.get("$defs", {})
    options = schema.get("anyOf")
    if options:
        others = [option for option in options if option.get("type") != "null"]
        optional = len(others) < len(options)
        if len(others) == 1:
            found = _plain_shape(resolve(others[0], definitions))
            return replace(found, optional=optional or found.optional)
        if _is_decimal(annotation):
            number = next(option for option in others if option.get("type") == "number")
            return replace(_plain_shape(number), optional=optional)
        return Shape("json", optional)
    return _plain_shape(resolve(schema, definitions))


def value_schema(schema: Mapping[str, Any], shape: Shape) -> Mapping[str, Any]:
    """Return the schema of the values that are not None, if it is one option, resolved.

    Of a Decimal, it is the schema of its numbers.
    """
    others = [option for option in schema.get("anyOf", ()) if option.get("type") != "null"]
    if shape.kind == "number":
        others = [option for option in others if option.get("type") == "number"]
    found: Mapping[str, Any] = resolve(
        others[0] if len(others) == 1 else schema, schema.get("$defs", {})
    )
    return found


def _plain_shape(schema: Mapping[str, Any]) -> Shape:
    if "const" in schema:
        return Shape("choice", choices=(schema["const"],), enum=schema.get(MARK))
    if "enum" in schema:
        choices = tuple(value for value in schema["enum"] if value is not None)
        optional = len(choices) < len(schema["enum"])
        return Shape("choice", optional, choices, enum=schema.get(MARK))
    match schema.get("type"):
        case "string" if schema.get("format") == "date":
            return Shape("date")
        case "string":
            return Shape(
                "text", max_length=schema.get("maxLength"), format=schema.get("format", "")
            )
        case "integer" | "number" as kind:
            return Shape(kind, maximum=schema.get("maximum", schema.get("exclusiveMaximum")))
        case "boolean":
            return Shape("boolean")
        case "object" | "array" as container:
            return Shape("json", container=container)
        case "null":
            return Shape("json", optional=True)
    return Shape("json")


def _is_decimal(annotation: Any) -> bool:
    return plain_type(annotation) is Decimal


def plain_type(annotation: Any) -> Any:
    """Return the type of the values that are not None."""
    if get_origin(annotation) in (Union, UnionType):
        options = [option for option in get_args(annotation) if option is not type(None)]
        annotation = options[0] if len(options) == 1 else None
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return annotation


def sort_sets(value: Any, schema: Mapping[str, Any]) -> Any:
    """Sort values that were sets, whose order changes from process to process."""
    definitions = schema.get("$defs", {})

    def sort(value: Any, schema: Any) -> Any:
        schema = resolve(schema, definitions)
        if not isinstance(schema, Mapping):
            return value
        for option in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
            value = sort(value, option)
        if isinstance(value, dict):
            known, rest = schema.get("properties", {}), schema.get("additionalProperties")
            return {key: sort(item, known.get(key, rest)) for key, item in value.items()}
        if not isinstance(value, list):
            return value
        value = [sort(item, schema.get("items")) for item in value]
        return sorted(value, key=canonical_json) if schema.get("uniqueItems") else value

    return sort(value, schema)
