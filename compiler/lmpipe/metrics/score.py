"""`Score`, the types of metrics, and how metrics are called."""

from __future__ import annotations

import inspect
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from numbers import Real
from types import MappingProxyType
from typing import Any, Protocol, TypeAlias, TypeVar

from lmpipe.data.example import Example
from lmpipe.errors import MetricError
from lmpipe.foundation.async_functions import is_async
from lmpipe.foundation.checks import check_number
from lmpipe.foundation.shorten import short_repr
from lmpipe.lm.concurrency import loop
from lmpipe.metrics.offloading import Offloaded
from lmpipe.modules.module import Module

# A weighted mean may exceed 1 by a rounding error.
_SLACK = 1e-9


@dataclass(frozen=True, slots=True)
class Score:
    """The score of one prediction.

    Args:
        value: from 0 (worst) to 1 (best).
        feedback: what was right or wrong, in words; reflective optimizers use it.
        parts: the values of which `value` was computed, by name; read-only.
        predictor_feedback: what single predictors of the program did right or wrong, by their
            paths; read-only.
    """

    value: float
    feedback: str = ""
    parts: Mapping[str, float] = field(default_factory=dict, hash=False)
    predictor_feedback: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        for name in ("parts", "predictor_feedback"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    def __reduce__(self) -> tuple[Any, ...]:  # a read-only mapping cannot be pickled
        return Score, (self.value, self.feedback, dict(self.parts), dict(self.predictor_feedback))

    def to_json(self) -> dict[str, Any]:
        given = dict(self.predictor_feedback)
        return {
            "value": self.value,
            "feedback": self.feedback,
            "parts": dict(self.parts),
            **({"predictor_feedback": given} if given else {}),
        }


_M = TypeVar("_M", bound=Callable[..., Any])

_RIGHT, _WRONG = Score(1.0), Score(0.0)

Result: TypeAlias = bool | float | Score


class Metric(Protocol):
    """Scores a prediction by a boolean, a number in [0, 1], or a `Score`."""

    def __call__(self, example: Example, prediction: Any, trace: Any, /) -> Result: ...


# All callables that are accepted as metrics: sync or async, with or without the trace.
AnyMetric: TypeAlias = (
    Metric
    | Callable[[Example, Any, Any], Result | Awaitable[Result]]
    | Callable[[Example, Any], Result | Awaitable[Result]]
)


class BoundMetric(Protocol):
    """A metric with a uniform call: async, with the trace, returning a checked `Score`."""

    async def __call__(self, example: Example, prediction: Any, trace: Any = None, /) -> Score: ...


def bind_metric(metric: AnyMetric) -> BoundMetric:
    """Give a metric a uniform call, inspecting its parameters once.

    Exceptions of the metric are passed on unchanged. A metric with a method `acall` is called
    through that. A metric that is not async runs in threads while it is slow, and always if it
    declares LM calls (`max_calls`), since it then waits for replies. So it may be called in several
    threads at once.

    Raises:
        MetricError: if it does not take (example, prediction) or (example, prediction, trace). The
            bound metric raises it if the metric returns an invalid score.
    """
    name = metric_name(metric)
    call = with_trace(getattr(metric, "acall", metric))
    awaited = hasattr(metric, "acall") or is_async(metric)
    waits = metric_calls(metric) > 0 and not awaited
    offloaded = Offloaded(call)

    async def bound(example: Example, prediction: Any, trace: Any = None, /) -> Score:
        if waits:
            result = await loop.in_thread(call, example, prediction, trace)
        elif awaited:
            result = call(example, prediction, trace)
        else:
            result = await offloaded(example, prediction, trace)
        if inspect.isawaitable(result):
            result = await result
        return to_score(result, name=name, example=example)

    return bound


async def call_metric(
    metric: AnyMetric, example: Example, prediction: Any, trace: Any = None
) -> Score:
    """Score one prediction. To score many, use `bind_metric` once.

    Args:
        metric: the metric, sync or async.
        example: the example, with its labels.
        prediction: what the program returned for it.
        trace: what happened in the run, if the metric takes it.

    Raises:
        MetricError: if the metric takes other parameters or returns an invalid score.
    """
    return await bind_metric(metric)(example, prediction, trace)


def metric_name(metric: object) -> str:
    """Return the name of a metric for messages and reports."""
    if isinstance(metric, partial):
        return metric_name(metric.func)
    return str(getattr(metric, "__name__", type(metric).__name__))


def judge(*, max_calls: int) -> Callable[[_M], _M]:
    """Declare that a metric calls an LM: `@judge(max_calls=2)`.

    It sets the metric's attribute `max_calls`, which plans and budgets use.

    Args:
        max_calls: the maximum number of LM calls for one row, including retries of unparseable
            replies.
    """

    def mark(metric: _M) -> _M:
        metric.max_calls = max_calls  # type: ignore[attr-defined]
        metric_calls(metric)  # checks the number
        return metric

    return mark


def metric_calls(metric: object) -> int:
    """Return the maximum number of LM calls of a metric for one row: its `max_calls`, or 0.

    If the metric is a module that declares none, it is that of the module's predictors.

    Raises:
        MetricError: if its `max_calls` is not a whole number of 0 or more.
    """
    if isinstance(metric, partial):
        return metric_calls(metric.func)
    calls = getattr(metric, "max_calls", None)
    if calls is None:
        return metric.calls_per_run() if isinstance(metric, Module) else 0
    name = metric_name(metric)
    check_number(name, "max_calls", calls, minimum=0, integer=True, error=MetricError)
    return int(calls)


def metric_programs(metric: object) -> list[Module]:
    """Return the programs that a metric is, or is made of."""
    if isinstance(metric, Module):
        return [metric]
    parts = [metric.func] if isinstance(metric, partial) else getattr(metric, "metrics", ())
    return [program for part in parts for program in metric_programs(part)]


def with_trace(metric: Callable[..., Any]) -> Callable[[Example, Any, Any], Any]:
    """Make a metric accept (example, prediction, trace), whether it takes the trace or not.

    A third parameter with a default gets the trace only if its name is `trace` or its default is
    None: `def close(example, prediction, tolerance=0.1)` gets no trace.

    Raises:
        MetricError: if it takes neither two nor three parameters.
    """
    if not callable(metric):
        raise MetricError(f"expected a metric, a function of (example, prediction), got {metric!r}")
    try:
        signature = inspect.signature(metric)
    except ValueError:  # some callables written in C have no signature
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
    """Check what a metric returned and convert it to a `Score`.

    Raises:
        MetricError: if it is not a boolean, a number in [0, 1] or a `Score` with such a value.
    """
    if isinstance(result, bool):
        return _RIGHT if result else _WRONG
    score = result if isinstance(result, Score) else Score(result)
    number = _as_float(score.value)
    if number is None:
        raise _invalid(name, result, example, "return one of these on every code path")
    if not math.isfinite(number):
        raise _invalid(name, result, example, "guard against division by zero")
    if not -_SLACK <= number <= 1 + _SLACK:
        raise _invalid(name, result, example, "divide by its maximum value")
    parts: dict[str, float] = {}
    for part, given in score.parts.items():
        value = _as_float(given)
        if value is None or not math.isfinite(value):
            raise _invalid(name, dict(score.parts), example, "parts must be finite numbers")
        parts[part] = value
    for feedback in (score.feedback, *score.predictor_feedback.values()):
        if not isinstance(feedback, str):
            raise _invalid(name, feedback, example, "feedback must be text")
    return Score(min(max(number, 0.0), 1.0), score.feedback, parts, score.predictor_feedback)


def _as_float(value: Any) -> float | None:
    """Convert a number to a float, also a decimal and a scalar of an array library; else None."""
    if type(value) is float:
        return value
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()
    if not isinstance(value, Real | Decimal):
        return None
    try:
        return float(value)
    except (OverflowError, ValueError):  # too large, or a signaling nan
        return math.nan


def _invalid(name: str, result: object, example: Example, remedy: str) -> MetricError:
    return MetricError(
        f"metric {name!r} returned {result!r}; expected True, False, a number in [0, 1] or a "
        f"Score; {remedy}; the example is {short_repr(example, 300)}"
    )
