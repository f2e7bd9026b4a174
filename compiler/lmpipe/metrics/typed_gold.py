"""Give gold values, which data have as JSON, the types of the predictions beside them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from contextlib import suppress
from enum import Enum
from typing import Any

import pydantic

from lmpipe.data.example import Example
from lmpipe.signatures.signature import Signature, spec_of


def typed_like(gold: Any, predicted: Any) -> Any:
    """Turn the JSON of a gold value into a value of the prediction's type, if it is valid for it.

    Models may have their fields' names or aliases as keys, and members of enums their names or
    values. What is not valid stays as it is.
    """
    if isinstance(gold, str):
        return _member(gold, type(predicted)) if isinstance(predicted, Enum) else gold
    if isinstance(gold, Mapping):
        if isinstance(predicted, pydantic.BaseModel) or dataclasses.is_dataclass(predicted):
            return _validated(type(predicted), gold)
        if isinstance(predicted, Mapping):
            return {
                key: typed_like(item, predicted[key]) if key in predicted else item
                for key, item in gold.items()
            }
    if isinstance(gold, list | tuple):
        if isinstance(predicted, list | tuple):
            paired = zip(gold, predicted, strict=False)
            last = predicted[-1] if predicted else None  # the type of items without counterpart
            rest = gold[len(predicted) :]
            return [typed_like(*pair) for pair in paired] + [typed_like(g, last) for g in rest]
        if isinstance(predicted, set | frozenset):
            return _as_set(gold, predicted)
        return [typed_like(item, predicted) for item in gold]  # several right values
    return gold


def _member(name: str, enum: type[Enum]) -> Any:
    """Return the member of a name; a value of a member stays as it is."""
    by_value = any(member.value == name for member in enum)
    return name if by_value else enum.__members__.get(name, name)


def _as_set(gold: list[Any] | tuple[Any, ...], predicted: set[Any] | frozenset[Any]) -> Any:
    one = next(iter(predicted), None)
    try:
        return {typed_like(item, one) for item in gold}
    except TypeError:  # some items cannot be in a set
        return gold


def _validated(kind: type[Any], gold: Any) -> Any:
    try:
        return pydantic.TypeAdapter(kind).validate_python(gold, by_alias=True, by_name=True)
    except (pydantic.ValidationError, pydantic.PydanticUserError):
        return gold


def with_typed_labels(example: Example, prediction: Any) -> Example:
    """Give the labels of an example the types of the prediction's outputs of the same names.

    A metric can then read `example.invoice.total` as it reads `prediction.invoice.total`. Labels
    that are not valid for their output, such as a list of right answers, stay as they are. The
    row keeps the JSON and the fingerprint of its data.

    Args:
        example: the example, with its labels.
        prediction: the result of a program, whose outputs have the types.
    """
    if not isinstance(prediction, Signature):
        return example
    typed, inputs = {}, None
    for field in spec_of(type(prediction)).outputs:
        label = example.get(field.name)
        if label is None or (type(label) is str and field.takes_any_text):
            continue
        inputs = example.inputs if inputs is None else inputs
        if field.name in inputs:
            continue
        with suppress(pydantic.ValidationError):
            typed[field.name] = field.typed(label)
    return example.with_types(typed) if typed else example
