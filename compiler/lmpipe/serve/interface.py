"""`Interface`: what a program takes and gives over HTTP, as JSON schemas and typed values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import Any

import pydantic

from lmpipe.errors import SignatureError
from lmpipe.foundation.shorten import repr_without_data
from lmpipe.modules.declared import declared_program, declared_signature
from lmpipe.modules.declared_fields import declared_inputs, declared_result
from lmpipe.modules.module import Module
from lmpipe.serve.problems import FieldProblem, Problem, Refused, escaped, invalid_inputs
from lmpipe.signatures.signature import REASONING, Signature, result_to_json, spec_of
from lmpipe.signatures.signature_spec import DIRECTION, FieldSpec, first_line, schemas_of, type_name

_LONGEST_SHOWN = 100  # characters of a wrong value
_MOST_SHOWN = 20  # problems of one input
RESULT = "result"  # the name of a result that has no fields


@dataclass(frozen=True)
class Schema:
    """A JSON schema of an object, and the definitions that it refers to, by name."""

    schema: Mapping[str, Any]
    definitions: Mapping[str, Any]

    def whole(self) -> dict[str, Any]:
        """Return the schema with its definitions inside; only for references to `#/$defs/`."""
        return {**self.schema, **({"$defs": self.definitions} if self.definitions else {})}


@dataclass(frozen=True)
class Interface:
    """What a program takes and gives.

    Args:
        title: the name of the program.
        about: what it does, in words; may be empty.
        inputs: its inputs by name.
        outputs: the outputs by name, if its results have fields.
        result: the type of its results.
    """

    title: str
    about: str
    inputs: Mapping[str, FieldSpec]
    outputs: Mapping[str, FieldSpec]
    result: Any

    @staticmethod
    def of(title: str, program: Module) -> Interface:
        """Read the interface of a program from what its user declared."""
        result = declared_result(program)
        outputs: dict[str, FieldSpec] = {}
        if isinstance(result, type) and issubclass(result, Signature):
            outputs = {field.name: field for field in spec_of(result).outputs}
        return Interface(title, _about(program), declared_inputs(program), outputs, result)

    def read(self, body: object) -> dict[str, Any]:
        """Read the inputs of a run from JSON.

        Raises:
            Refused: if an input is missing, unknown or of another type; names all such fields.
        """
        if not isinstance(body, Mapping):
            raise Refused(
                Problem(
                    422,
                    "invalid-inputs",
                    f"expected a JSON object with the inputs of {self.title}",
                    f"send an object with {self._expected()}",
                )
            )
        values: dict[str, Any] = {}
        problems: list[FieldProblem] = []
        for name, field in self.inputs.items():
            if name not in body:
                if field.required:
                    problems.append(self._missing(field))
                continue
            value = body[name]
            if type(value) is str and field.takes_any_text:
                values[name] = value
            else:
                try:
                    values[name] = field.typed(value)
                except pydantic.ValidationError as error:
                    problems += _wrong(field, value, error)
        problems += [self._unknown(str(name)) for name in body if name not in self.inputs]
        if problems:
            raise Refused(invalid_inputs(self.title, problems))
        return values

    def write(self, result: Any) -> dict[str, Any]:
        """Turn a result into the object that a client gets."""
        value = result_to_json(result)
        return value if isinstance(value, dict) else {RESULT: value}

    @cached_property
    def answer(self) -> FieldSpec | None:
        """The one output that people read, if there is only one beside the reasoning."""
        shown = [field for name, field in self.outputs.items() if name != REASONING]
        return shown[0] if len(shown) == 1 else None

    def input_schema(self, references: str = "#/$defs/{model}") -> Schema:
        """Return the schema of the inputs; `references` is the form of references in it."""
        required = [name for name, field in self.inputs.items() if field.required]
        return _object_schema(self.inputs, required, references)

    def output_schema(self, references: str = "#/$defs/{model}") -> Schema:
        """Return the schema of the answer; `references` is the form of references in it."""
        if self.outputs:
            return _object_schema(self.outputs, list(self.outputs), references)
        try:
            schema = pydantic.TypeAdapter(self.result).json_schema(
                mode="serialization", ref_template=references
            )
        except pydantic.errors.PydanticUserError:
            schema = {}  # the type has none
        definitions = schema.pop("$defs", {})
        if schema.get("type") == "object" or "$ref" in schema:
            return Schema(schema, definitions)
        about = {"type": "object", "properties": {RESULT: schema}, "required": [RESULT]}
        return Schema(about if self.result is not Any else {"type": "object"}, definitions)

    def schemas(self) -> tuple[Schema, Schema]:
        """Return the schemas of the inputs and the answer, which tell whether interfaces agree."""
        return self.input_schema(), self.output_schema()

    def _missing(self, field: FieldSpec) -> FieldProblem:
        kind = type_name(field.annotation)
        return FieldProblem(field.name, "is missing", f"add {field.name!r}, a value of type {kind}")

    def _unknown(self, name: str) -> FieldProblem:
        close = get_close_matches(name, self.inputs, n=1)
        remedy = f"send it as {close[0]!r}" if close else f"leave it out: send {self._expected()}"
        detail = "is an output: the program fills it in" if name in self.outputs else "is unknown"
        return FieldProblem(name, detail, remedy)

    def _expected(self) -> str:
        if not self.inputs:
            return "no inputs"
        return ", ".join(
            f"{name}: {type_name(field.annotation)}{'' if field.required else ' (optional)'}"
            for name, field in self.inputs.items()
        )


def _about(program: Module) -> str:
    """Say what a program does: as it is declared, because what it learned is not for clients."""
    if (signature := declared_signature(program)) is not None:
        return spec_of(signature).instruction
    declared = declared_program(program)
    documented = declared.__doc__ or ""
    of_library = type(declared).__doc__ == documented and type(declared).__module__.startswith(
        "lmpipe."
    )
    return "" if of_library else " ".join(documented.split())


def _wrong(field: FieldSpec, value: object, error: pydantic.ValidationError) -> list[FieldProblem]:
    """Say what is wrong with a value, at each place in it."""
    found = []
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    for problem in problems[:_MOST_SHOWN]:
        place = _pointer(value, problem["loc"], missing=problem["type"] == "missing")
        shown = repr_without_data(value, _LONGEST_SHOWN)
        detail = f"{problem['msg'].removeprefix('Value error, ')}; got {shown}"
        remedy = f"send a value of type {type_name(field.annotation)}"
        found.append(FieldProblem(field.name, detail, remedy, place))
    return found


def _pointer(value: object, location: Sequence[int | str], *, missing: bool) -> str:
    """Return where a problem is in a value, from pydantic's location, which also names types."""
    steps: list[int | str] = []
    for part in location:
        match value:
            case list() if isinstance(part, int) and part < len(value):
                value = value[part]
            case Mapping() if part in value:
                value = value[part]
            case _:
                continue
        steps.append(part)
    if missing and location:
        steps.append(location[-1])
    return "".join(f"/{escaped(str(step))}" for step in steps)


def _object_schema(fields: Mapping[str, FieldSpec], required: list[str], references: str) -> Schema:
    try:
        schemas, definitions = schemas_of(fields.values(), references)
    except pydantic.errors.PydanticUserError as error:
        kinds = ", ".join(
            f"{name}: {type_name(field.annotation)}" for name, field in fields.items()
        )
        raise SignatureError(
            f"one of {kinds} has no JSON schema, so that no client can send or read it "
            f"({first_line(error)}): annotate it with a type of pydantic or the standard library"
        ) from error
    properties = {}
    for name, field in fields.items():
        schema = {key: item for key, item in schemas[name].items() if key != DIRECTION}
        properties[name] = {**schema, **({"description": field.desc} if field.desc else {})}
    schema = {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
    return Schema(schema, definitions)
