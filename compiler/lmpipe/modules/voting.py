"""Run the members of an ensemble and reduce their predictions to one."""

from __future__ import annotations

import asyncio
import json
import math
import statistics
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from enum import Enum
from numbers import Real
from types import MappingProxyType
from typing import Any, TypeVar

import pydantic

from lmpipe.errors import ArtifactError, CallError, OutputError
from lmpipe.foundation.shorten import repr_without_data
from lmpipe.lm.scope import current_scope
from lmpipe.modules.recorded_apart import Apart, take_over
from lmpipe.signatures.signature import Signature, result_to_json, spec_of

T = TypeVar("T")

Member = Callable[..., Coroutine[Any, Any, Any]]
Reducer = Callable[[Sequence[Any]], Any]

# Reasoning leads to the answer and is not part of it: members rarely reason in the same words.
_NOT_VOTED_ON = "reasoning"


async def run_members(members: Sequence[Member], args: Any, kwargs: Any) -> list[Any]:
    """Run members at the same time and return what each of them returned or raised.

    A failing member does not stop the others, and traces and calls are recorded in the members'
    order: neither which calls are made nor their order may depend on who was quicker.
    """
    around = current_scope()
    aparts = [Apart.inside(around) for _ in members]

    async def run(member: Member, apart: Apart) -> Any:
        with apart.scope():
            return await member(*args, **kwargs)

    try:
        return await asyncio.gather(*map(run, members, aparts), return_exceptions=True)
    finally:
        take_over(around, aparts)


def reduce_outcomes(name: str, outcomes: Sequence[Any]) -> Any:
    """Reduce the predictions and errors of `run_members`; unreadable replies have no vote.

    Raises:
        OutputError: the first one, if no member gave a prediction.
        Exception: the first other error.
    """
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and not isinstance(outcome, OutputError):
            raise outcome
    predictions = [item for item in outcomes if not isinstance(item, OutputError)]
    if not predictions:
        raise outcomes[0]
    return reducer_named(name)(predictions)


def majority(
    predictions: Sequence[T],
    *,
    field: str | None = None,
    normalize: Callable[[Any], object] | None = None,
) -> T:
    """Return the most frequent prediction; the earliest one of those that are equally frequent.

    Predictions are compared by all their outputs except a `reasoning`. Source: the vote of
    self-consistency, Wang et al. 2022 (arXiv 2203.11171), section 2; for ensembles
    arXiv 2310.03714, section 4.

    Args:
        predictions: what programs returned: results with outputs as fields, or plain values.
        field: compare predictions by this output alone.
        normalize: makes the same value of answers that mean the same, such as `str.casefold`. It
            gets each output that is compared, or the plain value. A prediction for which it
            returns None has no vote, unless that is so for all.

    Raises:
        CallError: if there are no predictions, or they have no output of that name.
    """
    return predictions[majority_index(predictions, field=field, normalize=normalize)]


def majority_index(
    predictions: Sequence[Any],
    *,
    field: str | None = None,
    normalize: Callable[[Any], object] | None = None,
) -> int:
    """Return the position of the prediction that `majority` returns."""
    if isinstance(predictions, Signature | str) or not predictions:
        raise CallError(
            f"majority takes a list of 1 or more predictions, such as those of "
            f"`program.samples(5, …)`; got {repr_without_data(predictions, 100)}"
        )
    ballots = [_ballot(item, field, normalize) for item in predictions]
    cast = [ballot for ballot in ballots if ballot is not None]
    if not cast:
        return majority_index(predictions, field=field)
    return ballots.index(Counter(cast).most_common(1)[0][0])


def per_field(predictions: Sequence[Any]) -> Any:
    """Vote on each output separately: the (lower) median of numbers, the majority of others.

    The `reasoning` and the inputs are those of the earliest prediction that agrees most with the
    result. If the signature's own validators refuse the combined outputs, the result is the
    most frequent prediction as a whole. A value that is not a signature instance counts as one
    output.
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
    """Look up the reducer that a state names.

    Raises:
        ArtifactError: if there is no reducer of that name.
    """
    if name not in REDUCERS:
        raise ArtifactError(
            f"this state's ensemble is reduced by {name!r}, which this version of lmpipe does not "
            f"know (it knows {', '.join(REDUCERS)}): update lmpipe, or compile again"
        )
    return REDUCERS[name]


def _voted_on(kind: type[Signature]) -> tuple[str, ...]:
    names = spec_of(kind).output_names
    return tuple(name for name in names if name != _NOT_VOTED_ON) or names


def _ballot(
    prediction: Any, field: str | None, normalize: Callable[[Any], object] | None
) -> str | None:
    """Write what a prediction is compared by; None if it has no vote."""
    if not isinstance(prediction, Signature):
        if field is not None:
            raise CallError(
                f"majority(field={field!r}): {repr_without_data(prediction, 100)} has no outputs "
                "by name; leave field out"
            )
        value = prediction if normalize is None else normalize(prediction)
        return None if normalize and value is None else _spelled(value)
    if normalize is None:
        shown = result_to_json(prediction)
        return _spelled({name: shown[name] for name in _compared(type(prediction), field)})
    values = {
        name: normalize(getattr(prediction, name)) for name in _compared(type(prediction), field)
    }
    return None if any(value is None for value in values.values()) else _spelled(values)


def _compared(kind: type[Signature], field: str | None) -> Sequence[str]:
    names = spec_of(kind).output_names
    if field is None:
        return _voted_on(kind)
    if field not in names:
        raise CallError(
            f"majority(field={field!r}): {kind.__name__} has no such output; it has "
            f"{', '.join(names)}"
        )
    return (field,)


def _spelled(value: Any) -> str:
    # The standard library's encoder, because a program may return integers of any size.
    return json.dumps(result_to_json(value), sort_keys=True)


def _most_frequent(spelled: Sequence[str]) -> int:
    """The first position of the most frequent text."""
    return spelled.index(Counter(spelled).most_common(1)[0][0])


def _vote(values: Sequence[Any]) -> int:
    """The position of the value that wins."""
    numbers = [value for value in values if _is_number(value)]
    missing = sum(value is None for value in values)
    if missing > len(numbers) or len(numbers) + missing < len(values):
        return _most_frequent([_spelled(value) for value in values])
    # The lower of the two middle numbers: a member gave it, so its type allows it.
    median = statistics.median_low(numbers)
    return next(place for place, value in enumerate(values) if value is median)


def _is_number(value: Any) -> bool:
    # The numbers of an enumeration are names, and True is not one more than False.
    number = isinstance(value, Real) and not isinstance(value, bool | Enum)
    return number and (isinstance(value, int) or not math.isnan(value))
