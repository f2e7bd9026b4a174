"""How the predictions of an ensemble's members become one prediction."""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from numbers import Real
from types import MappingProxyType
from typing import Any

import pydantic

from lmpipe.errors import ArtifactError
from lmpipe.signatures.signature import Signature, plain, spec_of

Reducer = Callable[[Sequence[Any]], Any]

# What leads to an answer is no part of it: hardly two members reason in the same words.
_NOT_VOTED_ON = "reasoning"


def majority(predictions: Sequence[Any]) -> Any:
    """The prediction whose outputs come most often; of those as frequent, the earliest.

    Outputs count as a whole, but for a `reasoning`. Source: the vote of self-consistency, Wang et
    al. 2022 (arXiv 2203.11171), section 2; for ensembles arXiv 2310.03714, section 4.

    Args:
        predictions: at least one; signature instances, or whatever the program returns.
    """
    return predictions[_most_frequent([_answer(item) for item in predictions])]


def per_field(predictions: Sequence[Any]) -> Any:
    """Each output voted on by itself: of numbers their (lower) median, of all else the majority.

    The `reasoning` and the inputs are those of the earliest prediction that agrees most with the
    result. Where the signature's own validators refuse what was put together, the whole
    prediction that comes most often is the result. What is no signature instance counts as one
    output.

    Args:
        predictions: at least one.
    """
    kind = type(predictions[0])
    if not issubclass(kind, Signature) or any(type(item) is not kind for item in predictions):
        return predictions[_vote(list(predictions))]
    names = _voted_on(kind)
    columns = {name: [getattr(item, name) for item in predictions] for name in names}
    voted = {name: column[_vote(column)] for name, column in columns.items()}
    agreed = [
        sum(_spelled(columns[name][number]) == _spelled(voted[name]) for name in names)
        for number in range(len(predictions))
    ]
    nearest = predictions[agreed.index(max(agreed))]
    kept = {name: getattr(nearest, name) for name in kind.model_fields}
    try:
        return kind.model_validate({**kept, **voted})
    except pydantic.ValidationError:
        return majority(predictions)


REDUCERS: Mapping[str, Reducer] = MappingProxyType({"majority": majority, "per_field": per_field})


def reducer_named(name: str) -> Reducer:
    """The way to reduce that a state names.

    Raises:
        ArtifactError: if there is none of that name.
    """
    if name not in REDUCERS:
        raise ArtifactError(
            f"this state's ensemble is reduced by {name!r}, which this lmpipe does not know: there "
            f"is {', '.join(REDUCERS)}; update lmpipe, or compile again"
        )
    return REDUCERS[name]


def _voted_on(kind: type[Signature]) -> tuple[str, ...]:
    names = spec_of(kind).output_names
    return tuple(name for name in names if name != _NOT_VOTED_ON) or names


def _answer(prediction: Any) -> str:
    shown = plain(prediction)
    if isinstance(prediction, Signature):
        shown = {name: shown[name] for name in _voted_on(type(prediction))}
    return _spelled(shown)


def _spelled(value: Any) -> str:
    # The standard library's: a program may return whole numbers of any size.
    return json.dumps(plain(value), sort_keys=True)


def _most_frequent(spelled: Sequence[str]) -> int:
    """The first place of what comes most often."""
    return spelled.index(Counter(spelled).most_common(1)[0][0])


def _vote(values: Sequence[Any]) -> int:
    """The place of the value that wins."""
    numbers = [value for value in values if _is_number(value)]
    missing = sum(value is None for value in values)
    if missing > len(numbers) or len(numbers) + missing < len(values):
        return _most_frequent([_spelled(value) for value in values])
    # The lower one of two: it is a number that a member gave, so its type allows it.
    median = statistics.median_low(numbers)
    return next(place for place, value in enumerate(values) if value is median)


def _is_number(value: Any) -> bool:
    # An enumeration's numbers are names, and true is not one more than false.
    number = isinstance(value, Real) and not isinstance(value, bool | Enum)
    return number and not math.isnan(value)
