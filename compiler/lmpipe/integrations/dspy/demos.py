"""Demonstrations of lmpipe's states and of DSPy's predictors.

States sort the keys of objects. Prompts show those of models in declared order; where no type
declares one, as in `dict[str, Any]`, an object is kept as its text, which has the order.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import dspy

from lmpipe.integrations.dspy.signatures import fields_as_json
from lmpipe.signatures.signature_spec import FieldSpec, SignatureSpec
from lmpipe.state.program_state import Demo, to_plain


def demo_of(spec: SignatureSpec, given: Mapping[str, Any] | dspy.Example) -> Demo:
    """Read one of DSPy's demonstrations; fields that are not the signature's are left out."""
    values = dict(given.items())
    inputs, outputs = fields_as_json(spec, values)
    fields = {field.name: field for field in spec.fields}
    source = "bootstrapped" if values.get("augmented") else "labeled"
    return Demo.model_validate(
        {
            "inputs": {name: _in_order(fields[name], value) for name, value in inputs.items()},
            "outputs": {name: _in_order(fields[name], value) for name, value in outputs.items()},
            "source": source,
        }
    )


def demos_of(
    spec: SignatureSpec, given: Iterable[Mapping[str, Any] | dspy.Example]
) -> tuple[Demo, ...]:
    """Read all demonstrations of a predictor."""
    return tuple(demo_of(spec, demo) for demo in given)


def dspy_demo(spec: SignatureSpec, demo: Demo) -> dspy.Example:
    """Write a demonstration as DSPy has it after it has loaded a saved program."""
    values: dict[str, Any] = {"augmented": True} if demo.source == "bootstrapped" else {}
    for fields, given in ((spec.inputs, demo.inputs), (spec.outputs, demo.outputs)):
        for field in fields:
            if field.name in given:
                values[field.name] = field.normalize(_value(field, to_plain(given[field.name])))
    return dspy.Example(values)


def with_values(spec: SignatureSpec, demo: Demo) -> Demo:
    """Return a demonstration whose inputs are values, like those of a call, not texts of them."""
    inputs = {
        field.name: _value(field, to_plain(demo.inputs[field.name]))
        for field in spec.inputs
        if field.name in demo.inputs
    }
    return demo.model_copy(update={"inputs": inputs})


def _in_order(field: FieldSpec, value: Any) -> Any:
    """Return a value as it is, or as its text if a state would lose the order of its keys."""
    if not isinstance(value, dict | list):
        return value
    text = json.dumps(value, ensure_ascii=False)
    kept = field.normalize(json.loads(json.dumps(value, sort_keys=True)))
    return value if json.dumps(kept, ensure_ascii=False) == text else text


def _value(field: FieldSpec, value: Any) -> Any:
    """Read the text of an object, which `_in_order` wrote."""
    if not isinstance(value, str) or value[:1] not in ("{", "[") or field.annotation is str:
        return value
    try:
        read = json.loads(value)
    except json.JSONDecodeError:
        return value
    return read if json.dumps(read, ensure_ascii=False) == value else value
