"""The layout that writes inputs and outputs as JSON objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from lmpipe.foundation.canonical_json import canonical_json
from lmpipe.layouts.layout import Reading
from lmpipe.layouts.parse_values import json_text
from lmpipe.layouts.read_object import read_object
from lmpipe.lm.message import Constraint
from lmpipe.signatures.signature_spec import FieldSpec, SignatureSpec


@dataclass(frozen=True)
class JsonLayout:
    """Writes inputs as one JSON object and outputs as another."""

    name: str = "json"

    def system(self, spec: SignatureSpec, instruction: str) -> str:
        form = ", ".join(f'"{field.name}": <{_describe(field)}>' for field in spec.outputs)
        return f"{instruction}\nReply with one JSON object: {{{form}}}"

    def user(self, spec: SignatureSpec, inputs: Mapping[str, Any]) -> str:
        return json_text({name: inputs[name] for name in spec.input_names if name in inputs})

    def assistant(self, spec: SignatureSpec, outputs: Mapping[str, Any]) -> str:
        return json_text({name: outputs[name] for name in spec.output_names if name in outputs})

    def read(self, spec: SignatureSpec, text: str) -> Reading:
        return read_object(spec, text)

    def partial(self, spec: SignatureSpec, text: str) -> dict[str, Any]:
        try:
            value = from_json(text[max(text.find("{"), 0) :], allow_partial="trailing-strings")
        except ValueError:
            return {}
        if not isinstance(value, dict):
            return {}
        return {name: item for name, item in value.items() if name in spec.output_names}

    def constraint(self, spec: SignatureSpec) -> Constraint:
        # Properties keep their order, because servers decode them in the order of the schema.
        return Constraint("json_schema", json_text(spec.output_schema))


def _describe(field: FieldSpec) -> str:
    shape = field.shape
    hint = {"boolean": "true or false", "json": canonical_json(field.schema).decode()}.get(
        shape.kind, shape.hint().removesuffix(f", or {shape.none}")
    )
    if shape.optional:
        hint += ", or null"
    return f"{field.desc} ({hint})" if field.desc else hint
