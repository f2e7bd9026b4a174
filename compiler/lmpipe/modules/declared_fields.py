"""The inputs and the result of a program, as its user declared them."""

from __future__ import annotations

import inspect
from functools import cached_property
from typing import Any, get_type_hints

from pydantic.fields import FieldInfo

from lmpipe.modules.declared import declared_program, declared_signature
from lmpipe.modules.function import PredictFunction
from lmpipe.modules.module import Module
from lmpipe.signatures.signature import Prediction, Signature, spec_of
from lmpipe.signatures.signature_spec import FieldSpec


class ParameterSpec(FieldSpec):
    """A parameter of a program's `forward`, which must be given if it has no default."""

    @cached_property
    def required(self) -> bool:
        return self.info.is_required()


def declared_inputs(program: Module) -> dict[str, FieldSpec]:
    """Return a program's inputs by name, from its signature or its `forward`."""
    declared = declared_program(program)
    if (signature := declared_signature(declared)) is not None:
        return {field.name: field for field in spec_of(signature).inputs}
    forward: Any = declared.forward  # type: ignore[attr-defined]
    parameters = inspect.signature(forward).parameters.values()
    if any(p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in parameters):
        # A typed function, or a program that passes its arguments on.
        fields = [field for p in declared.predictors().values() for field in p.spec.inputs]
        return {field.name: field for field in fields}
    hints = get_type_hints(forward, include_extras=True)
    return {p.name: _parameter(p, hints.get(p.name, Any)) for p in parameters}


def declared_result(program: Module) -> Any:
    """Return the type of a program's results; `Any` if it does not say.

    It is a class of signatures if the program has one, and else what `forward` is annotated with.
    """
    declared = declared_program(program)
    if (signature := declared_signature(declared)) is not None:
        return signature
    if isinstance(declared, PredictFunction):
        return declared.predict.spec.outputs[0].annotation
    forward: Any = declared.forward  # type: ignore[attr-defined]
    found = get_type_hints(forward, include_extras=True).get("return", Any)
    return Any if found in (Signature, Prediction) else found


def _parameter(parameter: inspect.Parameter, annotation: Any) -> ParameterSpec:
    if parameter.default is parameter.empty:
        info = FieldInfo.from_annotation(annotation)
    else:
        info = FieldInfo.from_annotated_attribute(annotation, parameter.default)
    return ParameterSpec(parameter.name, annotation, info.description or "", info)
