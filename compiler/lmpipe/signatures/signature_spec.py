"""`SignatureSpec`: what the rest of the library knows about a signature."""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Any

import pydantic
from pydantic.fields import FieldInfo

from lmpipe.errors import CallError, SignatureError
from lmpipe.foundation.canonical_json import canonical_json, digest
from lmpipe.foundation.shorten import repr_without_data
from lmpipe.signatures.field_types.history import History
from lmpipe.signatures.field_types.parts import has_parts, holds, is_medium
from lmpipe.signatures.type_schema import (
    find_members,
    has_opaque_enum,
    respell,
    schema_generator,
    without_marks,
)
from lmpipe.signatures.value_shape import Shape, plain_type, shape_of, sort_sets

_NUMBER_OR_TIME = re.compile(rb'"(?:integer|number|date|date-time|time|duration)"')
# The key of a field's direction in pydantic's `json_schema_extra`.
DIRECTION = "lmpipe"


@dataclass(frozen=True)
class FieldSpec:
    """One field of a signature: its type as declared, and pydantic's record of it.

    `desc` describes it to the LM, and may be empty.
    """

    name: str
    annotation: Any
    desc: str
    info: FieldInfo

    def described(self, desc: str) -> FieldSpec:
        """The field with another description."""
        made = copy.copy(self)  # with all that is cached: none of it depends on the description
        object.__setattr__(made, "desc", desc)
        return made

    @cached_property
    def required(self) -> bool:
        """Whether a value must be given: there is no default, and None is not allowed."""
        return self.info.is_required() and not self.shape.optional

    def default(self) -> Any:
        """The value of a field that is left out: its default, or None."""
        if self.info.is_required():
            return None
        return self.info.get_default(call_default_factory=True)

    @cached_property
    def takes_any_text(self) -> bool:
        """Whether every string is a valid value, so that strings need no validation."""
        return self.annotation is str and not self.info.metadata

    @cached_property
    def may_be_guessed(self) -> bool:
        """Whether pydantic may take a part of a value for something that it is not.

        That is a number, a time, an enum's member, which may be a number, or a key of an object.
        """
        named = _NUMBER_OR_TIME.search(canonical_json(self.schema))
        return bool(named) or self._has_opaque_enums or self._has_models

    @cached_property
    def type_adapter(self) -> pydantic.TypeAdapter[Any]:
        """Validates one value, including its constraints, and dumps it."""
        constrained: Any = Annotated[self.annotation, self.info]
        return pydantic.TypeAdapter(constrained)

    @cached_property
    def may_have_parts(self) -> bool:
        """Whether its values may hold media, or others that are shown as parts of a message."""
        return holds(self.annotation, has_parts)

    @cached_property
    def may_show_itself(self) -> bool:
        """Whether its values may hold others than media that say what parts they are."""
        return holds(self.annotation, lambda kind: has_parts(kind) and not is_medium(kind))

    @cached_property
    def is_history(self) -> bool:
        """Whether its values are earlier turns of the conversation."""
        return plain_type(self.annotation) is History

    @cached_property
    def type_name(self) -> str:
        """The type as people write it: `str`, `Literal['billing', 'shipping']`, `list[int]`."""
        return type_name(self.annotation)

    def typed(self, value: Any) -> Any:
        """Turn a JSON value into a value of this field.

        Models may have their fields' names or aliases as keys.

        Raises:
            ValidationError: if it is not valid; see pydantic.
        """
        if self._has_opaque_enums:
            value = find_members(value, self.marked_schema)
        if self._has_models:
            return self.type_adapter.validate_python(value, by_alias=True, by_name=True)
        return self.type_adapter.validate_python(value)

    def raw(self, value: Any) -> Any:
        """Check a JSON value of this field, and return what pydantic reads without hints.

        That is the value itself, or the typed value if names in it have several spellings.

        Raises:
            ValidationError: if it is not valid; see pydantic.
        """
        typed = self.typed(value)
        if self._has_opaque_enums or self._has_aliases:
            return typed
        if self._has_models:
            try:
                self.type_adapter.validate_python(value)
            except pydantic.ValidationError:
                return typed
        return value

    def dump(self, value: Any) -> Any:
        """Turn a value of this field into a JSON value, spelled as the schema says."""
        if type(value) is str:
            return value
        # A round trip leaves out computed fields, which an LM is not asked for.
        dumped = self.type_adapter.dump_python(value, mode="json", by_alias=False, round_trip=True)
        if self._has_opaque_enums or self._has_models:
            dumped = respell(value, dumped)
        return sort_sets(dumped, self.schema) if self._has_sets else dumped

    def normalize(self, value: Any) -> Any:
        """Spell a JSON value as the schema says, with keys in declared order.

        States keep their keys sorted, and data may have values and names where the schema has
        names and aliases.
        """
        if self.shape.kind != "json" and not self._has_opaque_enums:
            return value
        try:
            return self.dump(self.typed(value))
        except pydantic.ValidationError:
            return value

    @cached_property
    def _has_sets(self) -> bool:
        return b'"uniqueItems":true' in canonical_json(self.schema)

    @cached_property
    def _has_opaque_enums(self) -> bool:
        return has_opaque_enum(self.marked_schema)

    @cached_property
    def _has_aliases(self) -> bool:
        return self.schema != _without_notes(
            without_marks(
                self.type_adapter.json_schema(by_alias=False, schema_generator=schema_generator())
            )
        )

    @cached_property
    def _has_models(self) -> bool:
        """Whether values may hold objects with known keys."""
        return b'"properties":' in canonical_json(self.schema)

    @cached_property
    def shape(self) -> Shape:
        """How a value is written in a prompt."""
        return shape_of(self.marked_schema, self.annotation)

    @cached_property
    def schema(self) -> dict[str, Any]:
        """The JSON schema of one value."""
        schema: dict[str, Any] = without_marks(self.marked_schema)
        return schema

    @cached_property
    def marked_schema(self) -> dict[str, Any]:
        """The JSON schema of one value, in which enums are marked with their class."""
        try:
            schema = self.type_adapter.json_schema(schema_generator=schema_generator())
        except pydantic.errors.PydanticUserError as error:
            raise SignatureError(
                f"field {self.name!r}: {self.type_name} has no JSON schema, so an LM cannot "
                f"be asked for it: {first_line(error)}"
            ) from error
        return _without_notes(schema)


@dataclass(frozen=True)
class SignatureSpec:
    """Everything the library knows about a signature, read from its class once.

    Fields have the order in which prompts show them. The instruction is the class's docstring.
    """

    name: str
    instruction: str
    inputs: tuple[FieldSpec, ...]
    outputs: tuple[FieldSpec, ...]

    def __str__(self) -> str:
        return spec_text(self.describe())

    @cached_property
    def label(self) -> str | None:
        """The first output with a fixed set of values; demonstrations are balanced by it."""
        return next((field.name for field in self.outputs if field.shape.kind == "choice"), None)

    @property
    def fields(self) -> tuple[FieldSpec, ...]:
        """The inputs, then the outputs."""
        return self.inputs + self.outputs

    @cached_property
    def output_names(self) -> tuple[str, ...]:
        return tuple(field.name for field in self.outputs)

    @cached_property
    def input_names(self) -> tuple[str, ...]:
        return tuple(field.name for field in self.inputs)

    @cached_property
    def fields_with_parts(self) -> tuple[FieldSpec, ...]:
        """The inputs that may hold media; most signatures have none."""
        return tuple(field for field in self.inputs if field.may_have_parts)

    @cached_property
    def histories(self) -> tuple[str, ...]:
        """The inputs that are earlier turns of the conversation."""
        return tuple(field.name for field in self.inputs if field.is_history)

    @cached_property
    def written(self) -> SignatureSpec:
        """The signature as a layout writes it: without histories, which are turns of their own."""
        if not self.histories:
            return self
        shown = tuple(field for field in self.inputs if field.name not in self.histories)
        return replace(self, inputs=shown)

    def without_output(self, name: str) -> SignatureSpec:
        """The signature without one of its outputs."""
        kept = tuple(field for field in self.outputs if field.name != name)
        return replace(self, outputs=kept)

    def described(self, descriptions: Mapping[str, str]) -> SignatureSpec:
        """The signature with other descriptions of some fields, by their names."""
        if not descriptions:
            return self

        def changed(fields: tuple[FieldSpec, ...]) -> tuple[FieldSpec, ...]:
            return tuple(
                field.described(descriptions[field.name]) if field.name in descriptions else field
                for field in fields
            )

        return replace(self, inputs=changed(self.inputs), outputs=changed(self.outputs))

    @cached_property
    def absent_outputs(self) -> dict[str, None]:
        """None for each output that has no default and may be None: an LM may leave it out."""
        optional = (field for field in self.outputs if not field.required)
        return {field.name: None for field in optional if field.info.is_required()}

    @cached_property
    def output_schema(self) -> dict[str, Any]:
        """The JSON schema of an object with all outputs."""
        schemas, definitions = schemas_of(self.outputs)
        properties = {name: _without_notes(schema) for name, schema in schemas.items()}
        schema = {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }
        return {**schema, "$defs": definitions} if definitions else schema

    @cached_property
    def schema_hash(self) -> str:
        """A hash of the names, types and order of the fields; states are bound to it."""
        sides = {"inputs": self.inputs, "outputs": self.outputs}
        return digest({side: [[f.name, f.schema] for f in fs] for side, fs in sides.items()})

    def describe(self) -> dict[str, Any]:
        """Describe the fields and their types by name, for manifests and readable diffs."""
        return {
            "name": self.name,
            "inputs": {field.name: field.type_name for field in self.inputs},
            "outputs": {field.name: field.type_name for field in self.outputs},
            "schema_hash": self.schema_hash,
        }

    def check_inputs(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Validate the inputs of one call and fill in defaults.

        Raises:
            CallError: if one is missing, unknown or has the wrong type; shows the signature.
        """
        values: dict[str, Any] = {}
        for field in self.inputs:
            if field.name in given:
                value = given[field.name]
                plain = type(value) is str and field.takes_any_text
                values[field.name] = value if plain else self._check_input(field, value)
            elif field.required:
                break
            else:
                values[field.name] = field.default()
        if len(values) < len(self.inputs) or not given.keys() <= values.keys():
            raise CallError(self._mismatch(given))
        return values

    def _check_input(self, field: FieldSpec, value: Any) -> Any:
        try:
            return field.typed(value)
        except pydantic.ValidationError as error:
            raise CallError(
                f"{self.name}: input {field.name!r} must be {field.type_name}, "
                f"got {repr_without_data(value)}: {first_problem(error)}\n  signature: {self}"
            ) from error

    def _mismatch(self, given: Mapping[str, Any]) -> str:
        missing = [f.name for f in self.inputs if f.required and f.name not in given]
        problems = [f"missing {', '.join(map(repr, missing))}"] if missing else []
        for name in (name for name in given if name not in self.input_names):
            hint = " (an output: the LM fills it in)" if name in self.output_names else ""
            problems.append(f"unknown {name!r}{hint}")
        return f"{self.name}: {'; '.join(problems)}\n  signature: {self}"


def spec_text(described: Mapping[str, Any]) -> str:
    """Write a signature in one line, from what `SignatureSpec.describe` returns."""

    def side(fields: Mapping[str, str]) -> str:
        return ", ".join(f"{name}: {kind}" for name, kind in fields.items())

    inputs, outputs = side(described.get("inputs", {})), side(described.get("outputs", {}))
    return f"{described.get('name', '')}({inputs}) -> ({outputs})"


def type_name(annotation: Any) -> str:
    """Write a type as people write it, without module names."""
    if annotation is type(None):
        return "None"
    if isinstance(annotation, type) and not hasattr(annotation, "__args__"):
        return annotation.__name__
    text = repr(annotation).replace("NoneType", "None")
    return _MODULE_OR_TEXT.sub(lambda match: match.group(1) or "", text)


_MODULE_OR_TEXT = re.compile(
    r"""('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|\b(?:(?:[A-Za-z_]\w*|<locals>)\.)+(?=[A-Za-z_])"""
)


def _without_notes(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {key: item for key, item in schema.items() if key not in (DIRECTION, "description")}


def schemas_of(
    fields: Collection[FieldSpec], references: str = "#/$defs/{model}"
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the JSON schemas of fields by name, and the definitions that they refer to.

    They are made together, because two types of the same name need two definitions.
    """
    schemas, shared = pydantic.TypeAdapter.json_schemas(
        ((field.name, "validation", field.type_adapter) for field in fields),
        ref_template=references,
        schema_generator=schema_generator(),
    )
    found = {field.name: without_marks(schemas[field.name, "validation"]) for field in fields}
    return found, without_marks(shared).get("$defs", {})


def first_line(error: Exception) -> str:
    """Return the first line of a long error."""
    return str(error).partition("\n")[0]


def first_problem(error: pydantic.ValidationError) -> str:
    """Return the first problem of a validation error in one line."""
    problem = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in problem["loc"])
    return f"{place}: {problem['msg']}" if place else problem["msg"]
