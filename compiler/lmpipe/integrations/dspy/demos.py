"""Demonstrations of lmpipe's states and of DSPy's predictors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import dspy

from lmpipe.integrations.dspy.signatures import fields_as_json
from lmpipe.signatures.signature_spec import SignatureSpec
from lmpipe.state.program_state import Demo, to_plain


def demo_of(spec: SignatureSpec, given: Mapping[str, Any] | dspy.Example) -> Demo:
    """Read one of DSPy's demonstrations; fields that are not the signature's are left out."""
    values = dict(given.items())
    inputs, outputs = fields_as_json(spec, values)
    source = "bootstrapped" if values.get("augmented") else "labeled"
    return Demo.model_validate({"inputs": inputs, "outputs": outputs, "source": source})


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
                # States sort the keys of objects, which prompts show in declared order.
                values[field.name] = field.normalize(to_plain(given[field.name]))
    return dspy.Example(values)
