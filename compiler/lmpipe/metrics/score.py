"""`Score`, what counts as a metric, and the one way in which metrics are called."""

from __future__ import annotations

import inspect
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from numbers import Real
from types import MappingProxyType
from typing import Any, Protocol, TypeAlias, TypeVar

from lmpipe.data.example import Example
from lmpipe.errors import MetricError
from lmpipe.lm.concurrency import loop
from lmpipe.modules.module import Module

# A sum of weights that should be 1 may miss it by a rounding error.
_SLACK = 1e-9


@dataclass(frozen=True, slots=True)
class Score:
    """How good one prediction is.

    Args:
        value: from 0 (useless) to 1 (perfect).
        feedback: what was right or wrong, in words that a reflective optimizer can use.
        parts: the values that it was made of, by name; read-only.
    """

    value: float
    feedback: str = ""
    parts: Mapping[str, float] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", MappingProxyType(dict(self.parts)))

    def to_json(self) -> dict[str, Any]:
        return {"value": self.value, "feedback": self.feedback, "parts": dict(self.parts)}


_M = TypeVar("_M", bound=Callable[..., Any])

_RIGHT, _WRONG = Score(1.0), Score(0.0)

Result: TypeAlias = bool | float | Score


class Metric(Protocol):
    """Says how good a prediction is: true or false, a number in [0, 1], or a `Score`."""

    def __call__(self, example: Example, prediction: Any, trace: Any, /) -> Result: ...


# All that is taken where a metric is asked for: sync or async, with or without the trace.
AnyMetric: TypeAlias = (
    Metric
    | Callable[[Example, Any, Any], Result | Awaitable[Result]]
    | Callable[[Example, Any], Result | Awaitable[Result]]
)


class BoundMetric(Protocol):
    """A metric made uniform: awaited, with the trace, and always a checked `Score`."""

    async def __call__(self, example: Example, prediction: Any, trace: Any = None, /) -> Score: ...


def bind_metric(metric: AnyMetric) -> BoundMetric:
    """Make a metric uniform, looking at its parameters once.

    The result is awaited and gives a checked `Score`. What the metric itself raises comes out as
    it is. A metric with a method `acall` is called through that; one that is not async and says
    that it asks an LM (`max_calls`) runs in a thread, since it waits for the reply.

    Raises:
        MetricError: at once, if it does not take (example, prediction) or (example, prediction,
            trace); later, if it returns something that is no score.
    """
    name = metric_name(metric)
    call = with_trace(getattr(metric, "acall", metric))
    waits = metric_calls(metric) > 0 and not hasattr(metric, "acall") and not _is_async(metric)

    async def bound(example: Example, prediction: Any, trace: Any = None, /) -> Score:
        if waits:
            result = await loop.in_thread(call, example, prediction, trace)
        else:
            result = call(example, prediction, trace)
        if inspect.isawaitable(result):
            result = await result
        return to_score(result, name=name, example=example)

    return bound


async def call_metric(
    metric: AnyMetric, example: Example, prediction: Any, trace: Any = None
) -> Score:
    """Score one prediction; for many of them, bind the metric once.

    Raises:
        MetricError: if the metric takes other parameters or returns something that is no score.
    """
    return await bind_metric(metric)(example, prediction, trace)


def metric_name(metric: object) -> str:
    """Return the name by which messages and reports call a metric."""
    if isinstance(metric, partial):
        return metric_name(metric.func)
    return str(getattr(metric, "__name__", type(metric).__name__))


def judge(*, max_calls: int) -> Callable[[_M], _M]:
    """Say of a metric that it asks an LM, and how often at most: `@judge(max_calls=2)`.

    It sets the metric's attribute `max_calls`, on which plans and budgets rest.

    Args:
        max_calls: the most LM calls for one row, replies that are asked for again included.
    """

    def mark(metric: _M) -> _M:
        metric.max_calls = max_calls  # type: ignore[attr-defined]
        metric_calls(metric)  # refuses what is no number
        return metric

    return mark


def metric_calls(metric: object) -> int:
    """Return the most LM calls that a metric says it makes for one row: its `max_calls`, or 0.

    A metric that is a module is counted like any module.

    Raises:
        MetricError: if its `max_calls` is no whole number of 0 or more.
    """
    if isinstance(metric, partial):
        return metric_calls(metric.func)
    calls = getattr(metric, "max_calls", None)
    if calls is None:
        return metric.calls_per_run() if isinstance(metric, Module) else 0
    if not isinstance(calls, int) or calls < 0:
        raise MetricError(
            f"{metric_name(metric)}: max_calls is {calls!r}; give the most LM calls that the "
            "metric makes for one row"
        )
    return calls


def _is_async(metric: object) -> bool:
    if isinstance(metric, partial):
        return _is_async(metric.func)
    called = getattr(type(metric), "__call__", None)  # noqa: B004 - a class is not asked
    return inspect.iscoroutinefunction(metric) or inspect.iscoroutinefunction(called)


def with_trace(metric: Callable[..., Any]) -> Callable[[Example, Any, Any], Any]:
    """Make a metric take (example, prediction, trace), whether it wants the trace or not.

    A third parameter with a default gets the trace if it is called `trace` or its default is
    None: `def close(example, prediction, tolerance=0.1)` does not ask for a trace.

    Raises:
        MetricError: if it takes neither two nor three parameters.
    """
    if not callable(metric):
        raise MetricError(
            f"expected a metric, a function of (example, prediction), came {metric!r}"
        )
    try:
        signature = inspect.signature(metric)
    except ValueError:  # some callables written in C have none
        return metric
    parameters = list(signature.parameters.values())
    trace = signature.parameters.get("trace")
    if trace is not None and trace.kind is trace.KEYWORD_ONLY and _takes(signature, 2, trace=0):
        return lambda example, prediction, trace: metric(example, prediction, trace=trace)
    third = parameters[2] if len(parameters) > 2 else None
    has_own_default = (
        third is not None
        and third.kind in (third.POSITIONAL_ONLY, third.POSITIONAL_OR_KEYWORD)
        and third.name != "trace"
        and third.default not in (third.empty, None)
    )
    if _takes(signature, 3) and not has_own_default:
        return metric
    if _takes(signature, 2):
        return lambda example, prediction, trace: metric(example, prediction)
    raise MetricError(
        f"a metric takes (example, prediction) or (example, prediction, trace); "
        f"{metric_name(metric)!r} takes {signature}; wrap it in a function that does"
    )


def _takes(signature: inspect.Signature, count: int, **keywords: Any) -> bool:
    try:
        signature.bind(*range(count), **keywords)
    except TypeError:
        return False
    return True


def to_score(result: Any, *, name: str, example: Example) -> Score:
    """Check what a metric returned and make it a `Score`.

    Raises:
        MetricError: if it is no truth value, number in [0, 1] or `Score` with such a value.
    """
    if isinstance(result, bool):
        return _RIGHT if result else _WRONG
    if isinstance(result, Score) and _is_sound(result):
        return result
    score = result if isinstance(result, Score) else Score(result)
    value = score.value
    if not isinstance(value, Real):
        raise _wrong(name, result, example, "return one of these, on every path")
    number = float(value)
    if not math.isfinite(number):
        raise _wrong(name, result, example, "guard its divisions against zero")
    if not -_SLACK <= number <= 1 + _SLACK:
        raise _wrong(name, result, example, "divide by the greatest value that it can have")
    if not all(isinstance(p, Real) and math.isfinite(float(p)) for p in score.parts.values()):
        raise _wrong(name, dict(score.parts), example, "give parts that are finite numbers")
    if not isinstance(score.feedback, str):
        raise _wrong(name, score.feedback, example, "give feedback that is text")
    parts = {part: float(number) for part, number in score.parts.items()}
    return Score(min(max(number, 0.0), 1.0), score.feedback, parts)


def _is_sound(score: Score) -> bool:
    """Whether a score is just as it should be, as nearly all are: then no copy is made."""
    return (
        type(score.value) is float
        and 0.0 <= score.value <= 1.0
        and isinstance(score.feedback, str)
        and all(type(part) is float and math.isfinite(part) for part in score.parts.values())
    )


def _wrong(name: str, result: object, example: Example, remedy: str) -> MetricError:
    row = repr(example)
    return MetricError(
        f"metric {name!r} returned {result!r}; expected True, False, a number in [0, 1] or a "
        f"Score; {remedy}; the row is {row if len(row) <= 300 else row[:299] + '…'}"
    )
