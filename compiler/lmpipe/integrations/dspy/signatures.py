"""Signatures and field values of DSPy, as lmpipe describes them."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any

import dspy
import pydantic
from pydantic.fields import FieldInfo

from lmpipe.data.example import jsonable
from lmpipe.errors import DataError, SignatureError
from lmpipe.signatures.signature_spec import FieldSpec, SignatureSpec


def spec_of(signature: type[dspy.Signature]) -> SignatureSpec:
    """Describe a signature by its fields with their types, and its instructions."""
    return SignatureSpec(
        signature.__name__,
        signature.instructions,
        tuple(_field(name, info) for name, info in signature.input_fields.items()),
        tuple(_field(name, info) for name, info in signature.output_fields.items()),
    )


def _field(name: str, declared: FieldInfo) -> FieldSpec:
    # Without what DSPy notes in a field: a state fits as long as names, types and constraints do.
    info: Any = FieldInfo(default=declared.default, default_factory=declared.default_factory)
    info.metadata = list(declared.metadata)
    described = description(name, declared)
    field = FieldSpec(name, declared.annotation, described, info)
    try:
        field.schema  # noqa: B018 - which some types, such as tools, do not have
    except (SignatureError, pydantic.PydanticUserError):
        return FieldSpec(name, Any, described, info)
    return field


def description(name: str, field: FieldInfo) -> str:
    """Return the description of a field; see `without_placeholder`."""
    extra: Any = field.json_schema_extra or {}
    return without_placeholder(name, str(extra.get("desc") or ""))


def without_placeholder(name: str, text: str) -> str:
    """Return a description as DSPy has it, but nothing for the placeholder of a missing one."""
    return "" if text == f"${{{name}}}" else text


def changed_signature(
    declared: type[dspy.Signature], instruction: str, descriptions: Mapping[str, str]
) -> type[dspy.Signature]:
    """Return a signature with other instructions and descriptions; the same if nothing differs."""
    changed = declared
    if instruction != declared.instructions:
        changed = changed.with_instructions(instruction)
    for name, text in descriptions.items():
        if text != description(name, declared.fields[name]):
            changed = changed.with_updated_fields(name, desc=text)
    return changed


def as_json(value: Any) -> Any:
    """Turn the value of a field into a JSON value, as DSPy saves it in demonstrations."""
    if value is None or type(value) in (str, int, bool):
        return value
    if isinstance(value, dict):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    if isinstance(value, pydantic.BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, dspy.Example):
        return as_json(value.toDict())
    if isinstance(value, enum.Enum):
        return as_json(value.value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return as_json(dataclasses.asdict(value))
    try:
        return jsonable(value)
    except DataError:
        return str(value)


def fields_as_json(spec: SignatureSpec, values: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """Split values into inputs and outputs of a signature, as JSON; what is neither is left out."""
    return tuple(
        {field.name: as_json(values[field.name]) for field in fields if field.name in values}
        for fields in (spec.inputs, spec.outputs)
    )
