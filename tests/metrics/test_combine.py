"""Metrics that combine others."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.data.example import Example
from lmpipe.errors import MetricError
from lmpipe.metrics import (
    CombinedMetric,
    Score,
    all_of,
    any_of,
    call_metric,
    exact_match,
    field_accuracy,
    mean_of,
    weighted,
)

ROW = Example(team="billing", order=7, amount=5.0)
PREDICTION = SimpleNamespace(team="billing", order=8, amount=5.0)


def half(example: Example, prediction: Any) -> Score:
    return Score(0.5, "half right")


async def judge(example: Example, prediction: Any) -> float:
    return 0.25


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        (weighted((0.5, exact_match("team")), (0.5, field_accuracy("order", "amount"))), 0.75),
        (weighted((3, exact_match("team")), (1, exact_match("order"))), 0.75),
        (mean_of(exact_match("team"), exact_match("order")), 0.5),
        (all_of(exact_match("team"), half), 0.5),
        (all_of(exact_match("team"), exact_match("order")), 0.0),
        (any_of(exact_match("team"), exact_match("order")), 1.0),
        (mean_of(half, lambda example, prediction, trace: True), 0.75),
        (mean_of(all_of(half), any_of(half)), 0.5),
    ],
)
def test_values_are_combined(metric: CombinedMetric, value: float) -> None:
    assert metric(ROW, PREDICTION).value == pytest.approx(value)


@given(st.lists(st.tuples(st.floats(1e-6, 1e6), st.floats(0, 1)), min_size=1, max_size=6))
def test_a_weighted_mean_is_between_its_values(pairs: list[tuple[float, float]]) -> None:
    values = [value for _, value in pairs]
    got = weighted(*[(weight, fixed(value)) for weight, value in pairs])(ROW, PREDICTION).value
    assert min(values) - 1e-9 <= got <= max(values) + 1e-9


def fixed(value: float) -> Any:
    return lambda example, prediction: value


def test_parts_of_parts_keep_their_names() -> None:
    score = mean_of(field_accuracy("team", "order"), half)(ROW, PREDICTION)
    assert score.parts == {
        "field_accuracy('team', 'order')": 0.5,
        "team": 1.0,
        "order": 0.0,
        "half": 0.5,
    }


def test_metrics_with_the_same_name_are_numbered() -> None:
    assert mean_of(half, half)(ROW, PREDICTION).parts == {"half": 0.5, "half #2": 0.5}


def test_feedback_is_joined_in_lines() -> None:
    score = mean_of(exact_match("order"), fixed(1.0), half)(ROW, PREDICTION)
    assert score.feedback == "order: expected 7, got 8\nhalf right"


async def test_async_metrics_are_awaited_when_bound() -> None:
    metric = mean_of(mean_of(judge), fixed(0.75))
    assert (await call_metric(metric, ROW, PREDICTION)).value == 0.5


async def test_acall_awaits_async_metrics() -> None:
    assert (await mean_of(judge).acall(ROW, PREDICTION)).value == 0.25


def test_a_plain_call_of_an_async_metric_names_the_remedy() -> None:
    with pytest.raises(MetricError, match=r"judge is async; await metric\.acall"):
        mean_of(judge)(ROW, PREDICTION)


def test_a_metric_that_returns_an_invalid_score_is_named() -> None:
    def vague(example: Example, prediction: Any) -> Any:
        return None

    with pytest.raises(MetricError, match="'vague' returned None"):
        mean_of(vague)(ROW, PREDICTION)


@pytest.mark.parametrize("weight", [0, -1, float("nan"), float("inf"), True, "1"])
def test_weights_are_positive_numbers(weight: Any) -> None:
    with pytest.raises(MetricError, match="weight of half must be"):
        weighted((weight, half), (1, half))


@pytest.mark.parametrize("make", [weighted, mean_of, all_of, any_of])
def test_a_combination_needs_a_metric(make: Any) -> None:
    with pytest.raises(MetricError, match="needs at least one metric"):
        make()


def test_a_metric_with_other_parameters_is_refused_at_once() -> None:
    with pytest.raises(MetricError, match="takes \\(example, prediction\\)"):
        mean_of(lambda example: 1.0)  # type: ignore[arg-type]


def test_the_name_of_a_combination_is_the_call_that_made_it() -> None:
    metric = weighted((3, exact_match("team")), (1, all_of(half)))
    assert repr(metric) == "weighted((0.75, exact_match('team')), (0.25, all_of(half)))"


async def test_feedback_on_predictors_is_joined_by_predictor() -> None:
    def one(example: Example, prediction: Any) -> Score:
        return Score(1.0, predictor_feedback={"write": "good"})

    def other(example: Example, prediction: Any) -> Score:
        return Score(0.0, predictor_feedback={"write": "long", "plan": "late"})

    score = await mean_of(one, other).acall(ROW, None)
    assert dict(score.predictor_feedback) == {"write": "good\nlong", "plan": "late"}
