"""The `json` layout: inputs as one JSON object, and outputs as another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lmpipe.layouts.describe import describe
from lmpipe.layouts.grammar import schema_constraint
from lmpipe.layouts.layout import Part, Reading
from lmpipe.layouts.parse_values import json_text
from lmpipe.layouts.partial_json import partial_members
from lmpipe.layouts.read_object import read_object
from lmpipe.layouts.text_layout import TextLayout
from lmpipe.lm.message import Constraint
from lmpipe.signatures.signature_spec import SignatureSpec


@dataclass(frozen=True)
class JsonLayout(TextLayout):
    """Writes inputs as one JSON object and outputs as another; values keep all they have."""

    name: str = "json"

    def system(self, spec: SignatureSpec, instruction: str) -> str:
        keys = "\n".join(f'- "{f.name}": {describe(f, in_json=True)}' for f in spec.outputs)
        return f"{instruction}\nReply with one JSON object with these keys:\n{keys}"

    def user(self, spec: SignatureSpec, inputs: Mapping[str, Any]) -> str:
        return json_text({name: inputs[name] for name in spec.input_names if name in inputs})

    def reminder(self, spec: SignatureSpec) -> str:
        return ""

    def again(self, spec: SignatureSpec) -> str:
        return f"Answer again with one JSON object that has the keys {_keys(spec)}."

    def rest(self, spec: SignatureSpec) -> str:
        return f"Write only what is missing, as a JSON object that has the keys {_keys(spec)}."

    def assistant(self, spec: SignatureSpec, outputs: Mapping[str, Any]) -> str:
        return json_text({name: outputs[name] for name in spec.output_names if name in outputs})

    def read(self, spec: SignatureSpec, text: str) -> Reading:
        return read_object(spec, text)

    def partial(self, spec: SignatureSpec, text: str) -> dict[str, Part]:
        start = text.find("{")
        found = partial_members(text, start + 1) if start >= 0 else {}
        return {name: part for name, part in found.items() if name in spec.output_names}

    def constraint(self, spec: SignatureSpec) -> Constraint:
        # Properties keep their order, because servers decode them in the order of the schema.
        return schema_constraint(spec.output_schema)


def _keys(spec: SignatureSpec) -> str:
    return ", ".join(f'"{name}"' for name in spec.output_names)
