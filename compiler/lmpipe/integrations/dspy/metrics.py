"""Metrics of DSPy: `(example, pred, trace=None, …)`, functions and modules."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import dspy

from lmpipe.data.example import Example
from lmpipe.errors import MetricError
from lmpipe.foundation.checks import check_number
from lmpipe.integrations.dspy.calls import REMEDY_OF_METRIC, count_calls_of
from lmpipe.integrations.dspy.copying import predictors_inside
from lmpipe.integrations.dspy.examples import example_to_dspy
from lmpipe.integrations.dspy.lms import AskedLMs
from lmpipe.integrations.dspy.run import DSPyRun
from lmpipe.metrics import Score, metric_name

# What a metric may be given by position: the example, the prediction, the trace, and for DSPy's
# GEPA a predictor's name and trace, which are None where the whole program is scored.
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def dspy_metric(metric: Callable[..., Any], *, max_calls: int | None = None) -> DSPyMetric:
    """Make a metric of lmpipe from one that is written for DSPy.

    It gets a `dspy.Example`, the program's prediction, and a trace: DSPy's list of the calls while
    demonstrations are collected, and None otherwise, as DSPy's optimizers do it. It returns a truth
    value, a number from 0 to 1, or a `dspy.Prediction` with a `score` and a `feedback`. The metric
    of a recipe with a DSPy program is taken to be written for DSPy, unless it is lmpipe's own.

    Args:
        metric: a function, or a module such as `SemanticF1()`.
        max_calls: the maximum number of LM calls of a function for one row; that of a module is
            counted. The calls go to the recipe's judge.

    Raises:
        MetricError: if it is not callable, the calls of a module depend on the data, or `max_calls`
            is not a whole number from 0.
    """
    if not callable(metric):
        raise MetricError(f"dspy_metric({metric!r:.100}): give a function or a dspy.Module")
    check_number(
        "dspy_metric",
        "max_calls",
        max_calls,
        minimum=0,
        integer=True,
        optional=True,
        error=MetricError,
    )
    if max_calls is None:
        max_calls = _calls_of(metric)
    return DSPyMetric(
        function=None if isinstance(metric, dspy.Module) else metric,
        described=_described(metric),
        max_calls=max_calls,
        _call=metric,
    )


@dataclass(frozen=True, kw_only=True)
class DSPyMetric:
    """A metric that is written for DSPy; see `dspy_metric`.

    Args:
        function: the metric, if it is not a module.
        described: the module's class and instructions.
        max_calls: the maximum number of LM calls for one row.
    """

    function: Callable[..., Any] | None
    described: tuple[str, ...]
    max_calls: int
    _call: Callable[..., Any] = field(repr=False, compare=False)
    _asked: AskedLMs = field(default_factory=AskedLMs, repr=False, compare=False)

    @property
    def called(self) -> Callable[..., Any]:
        """The metric as it was written."""
        return self._call

    @property
    def __name__(self) -> str:
        return metric_name(self._call)

    def __call__(self, example: Example, prediction: Any, trace: Any = None) -> Any:
        given = (example_to_dspy(example), prediction, _dspy_trace(prediction), None, None)
        call = partial(self._call, *given[: _taken(self._call)])
        if not self.max_calls:
            return _score(call())
        run = DSPyRun(self._asked)
        with run.configured():
            result = call()
        run.check()
        return _score(result)


def _calls_of(metric: Any) -> int:
    if not isinstance(metric, dspy.Module):
        return int(getattr(metric, "max_calls", None) or 0)
    uses = {id(predictor): 2 for predictor in predictors_inside(metric)}
    counted = count_calls_of(metric, uses)
    if counted is None:
        raise MetricError(
            f"the LM calls of the metric {type(metric).__name__} depend on the data: "
            f"{REMEDY_OF_METRIC}"
        )
    return counted


def _described(metric: Any) -> tuple[str, ...]:
    if not isinstance(metric, dspy.Module):
        return ()
    asked = [predictor.signature.instructions for predictor in predictors_inside(metric)]
    return (f"{type(metric).__module__}.{type(metric).__qualname__}", *asked)


def _taken(metric: Any) -> int:
    """How many arguments a metric is given: up to the trace if it takes them, more if it must."""
    called = type(metric).forward if isinstance(metric, dspy.Module) else metric
    try:
        parameters = inspect.signature(called).parameters.values()
    except ValueError:  # some callables written in C have no signature
        return 2
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return 3
    places = [parameter for parameter in parameters if parameter.kind in _POSITIONAL]
    if isinstance(metric, dspy.Module):
        places = places[1:]  # without `self`
    needed = sum(parameter.default is parameter.empty for parameter in places)
    return max(min(3, len(places)), min(needed, 5))


def _dspy_trace(prediction: Any) -> list[Any] | None:
    role, trace = getattr(prediction, "__dict__", {}).get("_lmpipe_trace", ("", None))
    return trace if role == "teacher" else None


def _score(result: Any) -> Any:
    if not isinstance(result, dspy.Example):
        return result
    if "score" not in result:
        raise MetricError(
            f"the metric returned {result!r:.200}: give it a score, as in "
            "dspy.Prediction(score=1.0, feedback=…)"
        )
    return Score(result["score"], str(result.get("feedback") or ""))
