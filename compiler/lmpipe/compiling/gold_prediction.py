"""The prediction that a program should make for an example, as its labels give it."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pydantic

from lmpipe.data.example import Example
from lmpipe.metrics import CombinedMetric, FieldMetric
from lmpipe.modules.declared import declared_program, declared_signature
from lmpipe.modules.function import PredictFunction
from lmpipe.modules.module import Module
from lmpipe.signatures.signature import Signature, spec_of
from lmpipe.signatures.signature_spec import FieldSpec


@dataclass(frozen=True)
class GoldPrediction:
    """What a perfect program would return for an example.

    Args:
        value: the prediction.
        labeled: whether a label gives at least one output.
        unlabeled: the outputs that were read although no label gives them, filled as they are.
    """

    value: Any
    labeled: bool = True
    unlabeled: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class GoldPredictor:
    """Makes the gold predictions of one program.

    Args:
        signature: the class of its predictions; None if it returns the value of `output`.
        output: its only output, if it returns a bare value.
        declared: whether the program declares what it returns; otherwise it was guessed from its
            last predictor.
    """

    signature: type[Signature] | None
    output: FieldSpec | None
    declared: bool

    @staticmethod
    def of(program: Module) -> GoldPredictor | None:
        """Find out what a program returns; None if that cannot be known."""
        made = declared_program(program)
        if isinstance(made, PredictFunction):
            return GoldPredictor(None, made.predict.spec.outputs[0], declared=True)
        if (signature := declared_signature(made)) is not None:
            return GoldPredictor(signature, None, declared=True)
        returned = _returned_type(made)
        if isinstance(returned, type) and issubclass(returned, Signature):
            return GoldPredictor(returned, None, declared=True)
        guesses = [
            found for item in made.predictors().values() if (found := declared_signature(item))
        ]
        if returned is None and guesses:
            return GoldPredictor(guesses[-1], None, declared=False)
        return None

    def predict(self, example: Example, metric: object) -> GoldPrediction | None:
        """Make the prediction for an example; None if no label is the value to return.

        A field metric may say which label belongs to a field of another name.
        """
        if self.signature is None:
            return self._bare(example)
        renamed = _renamed_labels(metric)
        labels = {
            output.name: _in_type(output, example.labels[label])
            for output in spec_of(self.signature).outputs
            if (label := renamed.get(output.name, output.name)) in example.labels
        }
        made = self._watched.model_construct(None, **example.inputs, **labels)
        return GoldPrediction(made, bool(labels), made._unlabeled)

    @cached_property
    def _watched(self) -> Any:
        """The class of its predictions, made once: making one takes as long as many examples."""
        assert self.signature is not None
        return _watched(self.signature)

    def _bare(self, example: Example) -> GoldPrediction | None:
        assert self.output is not None
        if len(example.labels) != 1:
            return None
        (label,) = example.labels.values()
        return GoldPrediction(_in_type(self.output, label))


def _returned_type(program: Module) -> Any:
    """Return what `forward` declares to return; None if it declares nothing that can be read."""
    try:
        return typing.get_type_hints(program.forward).get("return")  # type: ignore[attr-defined]
    except (AttributeError, NameError, TypeError):
        return None


def _in_type(output: FieldSpec, label: Any) -> Any:
    """Convert a label to the type of an output; a label that does not fit stays as it is."""
    try:
        return output.type_adapter.validate_python(label)
    except pydantic.ValidationError:
        return label


def _watched(signature: type[Signature]) -> type[Signature]:
    """Return a class of predictions that note the outputs that are read but have no value."""
    outputs = {output.name for output in spec_of(signature).outputs}

    class Gold(signature):  # type: ignore[valid-type,misc]
        _unlabeled: set[str] = pydantic.PrivateAttr(default_factory=set)

        def __getattr__(self, name: str) -> Any:
            if name in outputs:
                self._unlabeled.add(name)
            above: Any = super()
            return above.__getattr__(name)

    Gold.__name__ = Gold.__qualname__ = signature.__name__
    return Gold


def _renamed_labels(metric: object) -> Mapping[str, str]:
    """Return the names of labels by the names of the fields that a metric compares them with."""
    if isinstance(metric, CombinedMetric):
        return {
            name: label for part in metric.metrics for name, label in _renamed_labels(part).items()
        }
    if isinstance(metric, FieldMetric) and metric.gold is not None:
        return dict.fromkeys(metric.fields, metric.gold)
    return {}
