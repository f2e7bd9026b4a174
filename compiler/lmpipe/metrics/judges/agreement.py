"""How well a judge agrees with people: a metric for its compile, and figures of many rows."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from statistics import NormalDist
from typing import Any, Protocol

from lmpipe.data.example import Example, jsonable
from lmpipe.errors import MetricError
from lmpipe.foundation.shorten import short_repr
from lmpipe.foundation.statistics import Interval, mean_interval
from lmpipe.metrics.field_metric import FieldMetric
from lmpipe.metrics.score import Score
from lmpipe.metrics.typed_gold import with_typed_labels

# What stands for the verdict of a row that failed.
NO_VERDICT = "(none)"


class JudgedRow(Protocol):
    """A row of an evaluation."""

    @property
    def example(self) -> Example: ...

    @property
    def prediction(self) -> Any: ...

    @property
    def failure(self) -> Any: ...


@dataclass(frozen=True, repr=False)
class AgreementMetric(FieldMetric):
    """Whether a judge says what people say; made by `agreement`."""

    reason: str | None = None

    def __call__(self, example: Example, prediction: Any, trace: Any = None) -> Score:
        score = super().__call__(example, prediction, trace)
        why = example.get(self.reason) if self.reason is not None and score.value < 1 else None
        return replace(score, feedback=f"{score.feedback}, because: {why}") if why else score


def agreement(
    field: str = "verdict",
    *,
    gold: str | None = None,
    order: Sequence[Any] = (),
    reason: str | None = None,
) -> AgreementMetric:
    """Score 1 if a judge's verdict is that of people: the metric for the compile of a judge.

    Args:
        field: the output with the verdict.
        gold: the example's field with the verdict of people, if it has another name.
        order: the verdicts from worst to best. One that is near then counts in part: neighbours of
            k verdicts score 1 - 1 / (k - 1).
        reason: the example's field with what people said about their verdict, if they did; it
            becomes feedback, which reflective optimizers read.

    Raises:
        MetricError: if the order has fewer than two verdicts, or one twice.
    """
    plain = tuple(map(_plain, order))
    if len(plain) == 1 or len(set(plain)) != len(plain):
        raise MetricError(f"agreement(order={list(order)}): name two or more verdicts, each once")
    settings = {"order": plain} if plain else {}
    compare = partial(_compare, order=plain)
    return AgreementMetric("agreement", (field,), gold, compare, settings=settings, reason=reason)


@dataclass(frozen=True)
class Agreement:
    """The agreement of a judge with people over many rows.

    Args:
        count: the number of rows.
        accuracy: the share of rows with the same verdict.
        accuracy_interval: its confidence interval (Wilson's).
        kappa: Cohen's kappa: 0 is the agreement by chance, 1 is complete.
        kappa_interval: its confidence interval.
        table: how many rows have each pair of people's verdict and the judge's.
    """

    count: int
    accuracy: float
    accuracy_interval: Interval
    kappa: float
    kappa_interval: Interval
    table: dict[tuple[Any, Any], int]

    @staticmethod
    def of(
        rows: Iterable[JudgedRow],
        field: str = "verdict",
        *,
        gold: str | None = None,
        confidence: float = 0.95,
    ) -> Agreement:
        """Compute the agreement of the rows of an evaluation of a judge's program.

        A row that failed disagrees.

        Args:
            rows: `evaluation.rows`.
            field: the output with the verdict.
            gold: the example's field with the verdict of people, if it has another name.
            confidence: of the intervals, between 0 and 1.

        Raises:
            MetricError: if there are no rows, or an example has no verdict of people.
        """
        metric, rows = agreement(field, gold=gold), list(rows)
        # Labels from a text file are texts: they get the types of the judge's outputs.
        read = next((row.prediction for row in rows if row.failure is None), None)
        pairs = [_pair(metric, row, with_typed_labels(row.example, read)) for row in rows]
        return Agreement.of_pairs(pairs, confidence=confidence)

    @staticmethod
    def of_pairs(pairs: Iterable[tuple[Any, Any]], *, confidence: float = 0.95) -> Agreement:
        """Compute the agreement of pairs of people's verdict and the judge's.

        Source: Cohen 1960; the interval of kappa by its large-sample variance, Fleiss, Cohen and
        Everitt 1969. Where that is 0, as in complete agreement, the interval is that
        of the accuracy on the scale of kappa.

        Raises:
            MetricError: if there are no pairs.
        """
        table = Counter((_plain(one), _plain(other)) for one, other in pairs)
        count = table.total()
        if not count:
            raise MetricError("the agreement of no rows is not defined; give one or more")
        right = [float(one == other) for (one, other), n in table.items() for _ in range(n)]
        accuracy = math.fsum(right) / count
        interval = mean_interval(right, confidence)
        kappa, chance, variance = _kappa({pair: n / count for pair, n in table.items()})
        half = NormalDist().inv_cdf((1 + confidence) / 2) * math.sqrt(variance / count)
        if chance == 1:
            kappa_interval = Interval(-1.0, 1.0)  # one verdict only: nothing is known
        elif half == 0:
            low, high = ((bound - chance) / (1 - chance) for bound in (interval.low, interval.high))
            kappa_interval = Interval(max(-1.0, low), min(1.0, high))
        else:
            kappa_interval = Interval(max(-1.0, kappa - half), min(1.0, kappa + half))
        return Agreement(count, accuracy, interval, kappa, kappa_interval, dict(table))

    def __str__(self) -> str:
        return (
            f"accuracy {self.accuracy:.3f} {self.accuracy_interval}, "
            f"Cohen's kappa {self.kappa:.3f} {self.kappa_interval}, {self.count} rows"
        )


def _kappa(shares: dict[tuple[Any, Any], float]) -> tuple[float, float, float]:
    """Return Cohen's kappa, the agreement by chance, and the variance of kappa for one row."""
    first: Counter[Any] = Counter()
    second: Counter[Any] = Counter()
    for (one, other), share in shares.items():
        first[one] += share  # type: ignore[assignment]
        second[other] += share  # type: ignore[assignment]
    observed = math.fsum(share for (one, other), share in shares.items() if one == other)
    chance = math.fsum(first[value] * second[value] for value in first)
    if math.isclose(chance, 1):
        return 0.0, 1.0, 0.0
    kappa = (observed - chance) / (1 - chance)
    on_diagonal = math.fsum(
        share * ((1 - chance) - (first[one] + second[one]) * (1 - observed)) ** 2
        for (one, other), share in shares.items()
        if one == other
    )
    beside = math.fsum(
        share * (second[one] + first[other]) ** 2
        for (one, other), share in shares.items()
        if one != other
    )
    spread = on_diagonal + (1 - observed) ** 2 * beside
    spread -= (observed * chance - 2 * chance + observed) ** 2
    return kappa, chance, max(0.0, spread) / (1 - chance) ** 4


def _pair(metric: AgreementMetric, row: JudgedRow, example: Example) -> tuple[Any, Any]:
    if row.failure is None:
        ((_, gold, predicted),) = metric.pairs(example, row.prediction)
        return gold, predicted
    name = metric.gold or metric.fields[0]
    if name not in example:
        raise MetricError(f"{metric!r}: the example {short_repr(example)} has no {name!r}")
    return example[name], NO_VERDICT


def _compare(gold: Any, predicted: Any, *, order: Sequence[Any]) -> tuple[float, str]:
    gold, predicted = _plain(gold), _plain(predicted)
    if gold == predicted:
        return 1.0, f"people say {short_repr(gold)} as well"
    comment = f"people say {short_repr(gold)}, not {short_repr(predicted)}"
    if not order:
        return 0.0, comment
    for value in (gold, predicted):
        if value not in order:
            raise MetricError(f"agreement(order={list(order)}): {value!r} is not in the order")
    return 1 - abs(order.index(gold) - order.index(predicted)) / (len(order) - 1), comment


def _plain(value: Any) -> Any:
    """Spell a verdict as in data, so that it can be compared and counted."""
    if isinstance(value, Enum):
        return _plain(value.value)
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    return json.dumps(jsonable(value), sort_keys=True)
