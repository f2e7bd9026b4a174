"""The JSON schema of a type as an LM sees it, and the values that follow it.

An enum whose values are not all text is shown by the names of its members, because a number such
as that of `auto()` says nothing. Fields of models have the names of the schema, which are their
aliases.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from decimal import Decimal
from enum import Enum
from functools import cache
from typing import Any

import pydantic
from pydantic.fields import FieldInfo

# The key that marks the schema of an enum with its class, and the numbers of a Decimal, whose
# schema is else that of `float | str`; `without_marks` removes it.
MARK = "x-lmpipe-type"


def is_opaque(enum: type[Enum]) -> bool:
    """Whether an enum is shown by the names of its members."""
    return not all(isinstance(member.value, str) for member in enum)


@cache
def schema_generator() -> Any:
    """The class with which pydantic generates schemas; imported late, since it is slow."""
    from pydantic.json_schema import GenerateJsonSchema

    class SchemaGenerator(GenerateJsonSchema):
        def enum_schema(self, schema: Any) -> dict[str, Any]:
            found, enum = super().enum_schema(schema), schema["cls"]
            if is_opaque(enum):
                found = {key: found[key] for key in ("title", "description") if key in found}
                found |= {"enum": [member.name for member in enum], "type": "string"}
            return {**found, MARK: enum}

        def decimal_schema(self, schema: Any) -> dict[str, Any]:
            found = super().decimal_schema(schema)
            for option in found.get("anyOf", ()):
                if option.get("type") == "number":
                    option[MARK] = Decimal
            return found

        def literal_schema(self, schema: Any) -> dict[str, Any]:
            members = [value for value in schema["expected"] if value is not None]
            kinds = {type(member) for member in members}
            enum = kinds.pop() if len(kinds) == 1 else None
            if enum is None or not issubclass(enum, Enum) or not is_opaque(enum):
                return super().literal_schema(schema)
            names = [value and value.name for value in schema["expected"]]
            return {"enum": names, MARK: enum}

        def encode_default(self, dft: Any) -> Any:
            return respell(dft, super().encode_default(dft))

    return SchemaGenerator


def without_marks(schema: Any) -> Any:
    """Copy a schema without its marks, which are not JSON."""
    if isinstance(schema, dict):
        return {key: without_marks(item) for key, item in schema.items() if not _is_mark(key, item)}
    return [without_marks(item) for item in schema] if isinstance(schema, list) else schema


def _is_mark(key: str, item: Any) -> bool:
    return key == MARK and isinstance(item, type)


def has_opaque_enum(schema: Any) -> bool:
    """Whether values of a schema may hold members of enums that are shown by name."""
    if isinstance(schema, dict):
        enum = schema.get(MARK)
        here = isinstance(enum, type) and issubclass(enum, Enum) and is_opaque(enum)
        return here or any(has_opaque_enum(item) for item in schema.values())
    return isinstance(schema, list) and any(map(has_opaque_enum, schema))


def resolve(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """Follow a schema's references to its definitions; a schema without one stays."""
    while isinstance(schema, Mapping) and "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    return schema


def find_members(value: Any, schema: Mapping[str, Any]) -> Any:
    """Replace the names of members of enums in a JSON value by the members."""
    definitions = schema.get("$defs", {})

    def find(value: Any, schema: Any) -> Any:
        schema = resolve(schema, definitions)
        if not isinstance(schema, Mapping):
            return value
        for option in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
            value = find(value, option)
        if isinstance(value, str):
            return _member(schema.get(MARK), value)
        if isinstance(value, dict):
            known, rest = schema.get("properties", {}), schema.get("additionalProperties")
            names = schema.get("propertyNames")
            return {find(k, names): find(item, known.get(k, rest)) for k, item in value.items()}
        if isinstance(value, list):
            return [
                find(item, one) for item, one in zip(value, each_item(schema, value), strict=True)
            ]
        return value

    return find(value, schema)


def each_item(schema: Mapping[str, Any], items: list[Any]) -> list[Any]:
    """The schema of each item of a list or tuple."""
    places = list(schema.get("prefixItems", ()))[: len(items)]
    return [*places, *[schema.get("items")] * (len(items) - len(places))]


def _member(enum: Any, name: str) -> Any:
    known = isinstance(enum, type) and issubclass(enum, Enum) and is_opaque(enum)
    return enum.__members__.get(name, name) if known else name


def respell(value: Any, dumped: Any) -> Any:
    """Give a dumped value the spelling of its schema: keys are aliases, members are names.

    Fields that models exclude from their dumps are added, because an LM is asked for them.
    """
    if isinstance(value, Enum) and is_opaque(type(value)):
        return value.name
    if isinstance(value, pydantic.RootModel):
        return respell(value.root, dumped)
    if isinstance(dumped, dict):
        if isinstance(value, Mapping):
            pairs = zip(value.items(), dumped.items(), strict=False)
            return {respell(k, key): respell(item, one) for (k, item), (key, one) in pairs}
        return _respell_fields(value, dumped)
    if isinstance(dumped, list) and isinstance(value, list | tuple | set | frozenset):
        return [respell(item, one) for item, one in zip(value, dumped, strict=False)]
    return dumped


def _respell_fields(value: Any, dumped: dict[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = dict(getattr(type(value), "__pydantic_fields__", {}))
    if not fields and dataclasses.is_dataclass(value):
        fields = {field.name: None for field in dataclasses.fields(value)}
    result = {}
    for name, info in fields.items():
        item = getattr(value, name, None)
        if name in dumped:
            result[_input_key(name, info)] = respell(item, dumped[name])
        elif info is not None and info.exclude:
            result[_input_key(name, info)] = respell(item, _jsonable(item))
    return {**result, **{name: item for name, item in dumped.items() if name not in fields}}


def _jsonable(value: Any) -> Any:
    from pydantic_core import to_jsonable_python

    return to_jsonable_python(value, by_alias=False)


def _input_key(name: str, info: FieldInfo | None) -> str:
    """The key of a field in the schema of its model's input."""
    alias = info.validation_alias if info else None
    if alias is None or isinstance(alias, str):
        return alias or name
    for choice in alias.choices if isinstance(alias, pydantic.AliasChoices) else [alias]:
        if isinstance(choice, str):
            return choice
        if len(choice.path) == 1:
            return str(choice.path[0])
    return name
