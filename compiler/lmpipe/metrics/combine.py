"""Combine metrics: weighted mean, mean, minimum, maximum."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from lmpipe.data.example import Example
from lmpipe.errors import MetricError
from lmpipe.foundation.checks import check_number
from lmpipe.metrics.score import (
    AnyMetric,
    BoundMetric,
    Score,
    bind_metric,
    metric_calls,
    metric_name,
    to_score,
    with_trace,
)


@dataclass(frozen=True)
class CombinedMetric:
    """Several metrics as one. Its score has theirs as parts, and their feedback in lines.

    It is called like any metric. If one of its metrics is async, await `acall`; an evaluation does
    so.

    Args:
        name: the factory that made it.
        metrics: the metrics, in order.
        weights: their weights, which sum to 1; None weights them equally.
        join: how to combine the values.

    Raises:
        MetricError: if no metric is given, or one has the wrong parameters.
    """

    name: str
    metrics: tuple[AnyMetric, ...]
    weights: tuple[float, ...] | None
    join: Literal["mean", "minimum", "maximum"]
    labels: tuple[str, ...] = field(init=False, repr=False, compare=False)
    _calls: tuple[Callable[..., Any], ...] = field(init=False, repr=False, compare=False)
    _bound: tuple[BoundMetric, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.metrics:
            raise MetricError(f"{self.name} needs at least one metric")
        object.__setattr__(self, "labels", _number_repeated([metric_name(m) for m in self.metrics]))
        object.__setattr__(self, "_calls", tuple(with_trace(m) for m in self.metrics))
        object.__setattr__(self, "_bound", tuple(bind_metric(m) for m in self.metrics))

    def __reduce__(self) -> tuple[type[CombinedMetric], tuple[Any, ...]]:
        # What binds the metrics is made again by the constructor.
        return CombinedMetric, (self.name, self.metrics, self.weights, self.join)

    def __call__(self, example: Example, prediction: Any, trace: Any = None) -> Score:
        """Score one prediction.

        Raises:
            MetricError: if one of the metrics is async, or returns an invalid score.
        """
        scores = []
        for name, call in zip(self.labels, self._calls, strict=True):
            result = call(example, prediction, trace)
            if inspect.isawaitable(result):
                if inspect.iscoroutine(result):
                    result.close()
                raise MetricError(
                    f"{self!r}: {name} is async; await metric.acall(example, prediction) instead"
                )
            scores.append(to_score(result, name=name, example=example))
        return self._join(scores)

    async def acall(self, example: Example, prediction: Any, trace: Any = None) -> Score:
        """Score one prediction, awaiting async metrics one after the other."""
        return self._join([await bound(example, prediction, trace) for bound in self._bound])

    @property
    def max_calls(self) -> int:
        """The maximum number of LM calls of all its metrics for one row."""
        return sum(metric_calls(metric) for metric in self.metrics)

    def _join(self, scores: Sequence[Score]) -> Score:
        values = [score.value for score in scores]
        if self.join == "minimum":
            value = min(values)
        elif self.join == "maximum":
            value = max(values)
        else:
            weights = self.weights or [1 / len(values)] * len(values)
            value = math.fsum(w * v for w, v in zip(weights, values, strict=True))
        parts = dict(zip(self.labels, values, strict=True))
        for label, score in zip(self.labels, scores, strict=True):
            for part, one in score.parts.items():
                parts[part if part not in parts else f"{label}/{part}"] = one
        feedback = "\n".join(score.feedback for score in scores if score.feedback)
        said: dict[str, str] = {}
        for score in scores:
            for path, text in score.predictor_feedback.items():
                said[path] = f"{said[path]}\n{text}" if path in said else text
        return Score(min(max(value, 0.0), 1.0), feedback, parts, said)

    @property
    def __name__(self) -> str:
        return repr(self)

    def __repr__(self) -> str:
        names = [metric_name(metric) for metric in self.metrics]
        if self.weights is not None:
            pairs = zip(self.weights, names, strict=True)
            names = [f"({weight:g}, {name})" for weight, name in pairs]
        return f"{self.name}({', '.join(names)})"


def weighted(*parts: tuple[float, AnyMetric]) -> CombinedMetric:
    """Score the weighted mean of metrics: `weighted((0.7, exact_match("team")), (0.3, judge))`.

    Args:
        parts: pairs of a weight and a metric; only the ratios of the weights matter.

    Raises:
        MetricError: if a weight is not a positive number.
    """
    for weight, metric in parts:
        name = f"weight of {metric_name(metric)}"
        check_number("weighted", name, weight, above=0, error=MetricError)
    total = math.fsum(weight for weight, _ in parts)
    weights = tuple(weight / total for weight, _ in parts)
    return CombinedMetric("weighted", tuple(metric for _, metric in parts), weights, "mean")


def mean_of(*metrics: AnyMetric) -> CombinedMetric:
    """Score the mean of metrics."""
    return CombinedMetric("mean_of", metrics, None, "mean")


def all_of(*metrics: AnyMetric) -> CombinedMetric:
    """Score the minimum of metrics: 1 if all metrics that are 0 or 1 are 1."""
    return CombinedMetric("all_of", metrics, None, "minimum")


def any_of(*metrics: AnyMetric) -> CombinedMetric:
    """Score the maximum of metrics: 1 if one of the metrics that are 0 or 1 is 1."""
    return CombinedMetric("any_of", metrics, None, "maximum")


def _number_repeated(names: Sequence[str]) -> tuple[str, ...]:
    """Append ` #2`, ` #3`, … to names that occur more than once."""
    seen: dict[str, int] = {}
    labels = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        labels.append(name if seen[name] == 1 else f"{name} #{seen[name]}")
    return tuple(labels)
