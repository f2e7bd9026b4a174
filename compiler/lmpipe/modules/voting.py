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
from typing import Any

import pydantic

from lmpipe.errors import ArtifactError, OutputError
from lmpipe.lm.scope import current_scope, scope
from lmpipe.signatures.signature import Signature, result_to_json, spec_of
from lmpipe.state.trace import Trace

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
    traces = [None if around.trace is None else Trace() for _ in members]
    calls: list[Any] = [None if around.calls is None else [] for _ in members]

    async def run(member: Member, trace: Trace | None, made: Any) -> Any:
        with scope(trace=trace, calls=made):
            return await member(*args, **kwargs)

    try:
        return await asyncio.gather(*map(run, members, traces, calls), return_exceptions=True)
    finally:
        for trace, made in zip(traces, calls, strict=True):
            if around.trace is not None and trace is not None:
                around.trace.extend(trace)
            if around.calls is not None:
                around.calls.extend(made)


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


def majority(predictions: Sequence[Any]) -> Any:
    """Return the most frequent prediction; the earliest one of those that are equally frequent.

    Predictions are compared by all their outputs except a `reasoning`. Source: the vote of
    self-consistency, Wang et al. 2022 (arXiv 2203.11171), section 2; for ensembles
    arXiv 2310.03714, section 4.
    """
    return predictions[_most_frequent([_answer(item) for item in predictions])]


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


def _answer(prediction: Any) -> str:
    shown = result_to_json(prediction)
    if isinstance(prediction, Signature):
        shown = {name: shown[name] for name in _voted_on(type(prediction))}
    return _spelled(shown)


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
