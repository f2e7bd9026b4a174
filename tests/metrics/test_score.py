"""Which callables are metrics, how they are called, and which scores are valid."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import pytest

from lmpipe.data.example import Example
from lmpipe.errors import MetricError
from lmpipe.metrics import Score, bind_metric, call_metric, metric_name

ROW = Example(question="q", answer="a").with_inputs("question")


def with_two(example: Example, prediction: Any) -> bool:
    return bool(example.answer == prediction)


def with_three(example: Example, prediction: Any, trace: Any) -> bool:
    return bool(trace == "trace")


def with_optional_trace(example: Example, prediction: Any, steps: Any = None) -> bool:
    return bool(steps == "trace")


def with_named_trace(example: Example, prediction: Any, *, trace: Any = None) -> bool:
    return bool(trace == "trace")


def with_required_named_trace(example: Example, prediction: Any, *, trace: Any) -> bool:
    return bool(trace == "trace")


def with_anything(*arguments: Any) -> bool:
    return arguments == (ROW, "a", "trace")


async def asynchronous(example: Example, prediction: Any) -> float:
    return 0.25


class Judge:
    def __call__(self, example: Example, prediction: Any, trace: Any) -> Score:
        return Score(0.5, "so so", {"style": 0.5})


class OnlyAsync:
    async def acall(self, example: Example, prediction: Any, trace: Any) -> float:
        return 0.75

    def __call__(self, example: Example, prediction: Any, trace: Any) -> float:
        raise AssertionError("acall comes first")


@pytest.mark.parametrize(
    "metric",
    [
        with_two,
        with_three,
        with_optional_trace,
        with_named_trace,
        with_required_named_trace,
        with_anything,
        lambda example, prediction: True,
    ],
)
async def test_a_metric_gets_the_trace_if_it_takes_it(metric: Any) -> None:
    assert await bind_metric(metric)(ROW, "a", "trace") == Score(1.0)


async def test_the_trace_is_not_passed_as_an_option() -> None:
    def near(example: Example, prediction: Any, tolerance: float = 0.5) -> float:
        return tolerance

    assert await call_metric(near, ROW, "a", "trace") == Score(0.5)


async def test_options_bound_by_partial_are_kept() -> None:
    def near(example: Example, prediction: Any, *, tolerance: float) -> float:
        return tolerance

    assert await call_metric(partial(near, tolerance=0.5), ROW, "a", "trace") == Score(0.5)


@pytest.mark.parametrize(
    ("metric", "value"), [(asynchronous, 0.25), (Judge(), 0.5), (OnlyAsync(), 0.75)]
)
async def test_async_metrics_and_objects_are_metrics(metric: Any, value: float) -> None:
    assert (await bind_metric(metric)(ROW, "a")).value == value


async def test_feedback_and_parts_are_kept() -> None:
    assert await call_metric(Judge(), ROW, "a") == Score(0.5, "so so", {"style": 0.5})


@pytest.mark.parametrize(
    ("result", "value"),
    [
        (True, 1.0),
        (False, 0.0),
        (1, 1.0),
        (0.5, 0.5),
        (Fraction(1, 4), 0.25),
        (Score(True), 1.0),
        (1 + 1e-12, 1.0),
        (-1e-12, 0.0),
    ],
)
async def test_values_become_floats_in_range(result: Any, value: float) -> None:
    got = (await call_metric(lambda example, prediction: result, ROW, "a")).value
    assert (got, type(got)) == (value, float)


@pytest.mark.parametrize(
    ("result", "remedy"),
    [
        (None, "every code path"),
        ("1", "every code path"),
        ([1.0], "every code path"),
        (math.nan, "division by zero"),
        (math.inf, "division by zero"),
        (85, "maximum value"),
        (-0.5, "maximum value"),
        (Score(2.0), "maximum value"),
        (Score(1.0, parts={"a": math.nan}), "parts must be finite"),
        (Score(1.0, feedback=None), "feedback must be text"),  # type: ignore[arg-type]
    ],
)
async def test_an_invalid_score_is_an_error(result: Any, remedy: str) -> None:
    def vague(example: Example, prediction: Any) -> Any:
        return result

    with pytest.raises(MetricError, match=rf"'vague' returned.*{remedy}.*question='q'"):
        await call_metric(vague, ROW, "a")


@pytest.mark.parametrize(
    "metric",
    [lambda: 1.0, lambda example: 1.0, lambda example, prediction, trace, name, steps: 1.0],
)
def test_other_parameters_are_refused_at_once(metric: Any) -> None:
    with pytest.raises(MetricError, match="takes \\(example, prediction\\)"):
        bind_metric(metric)


def test_an_object_that_cannot_be_called_is_refused() -> None:
    with pytest.raises(MetricError, match=r"expected a metric.*'exact'"):
        bind_metric("exact")  # type: ignore[arg-type]


async def test_exceptions_of_a_metric_are_passed_on_unchanged() -> None:
    error = ZeroDivisionError("mine")

    def broken(example: Example, prediction: Any) -> float:
        raise error

    with pytest.raises(ZeroDivisionError) as raised:
        await call_metric(broken, ROW, "a")
    assert raised.value is error


def test_parts_are_read_only() -> None:
    parts: Any = Score(1.0, parts={"a": 1.0}).parts
    with pytest.raises(TypeError):
        parts["a"] = 0.0


def test_a_score_is_hashable() -> None:
    assert len({Score(1.0, parts={"a": 1.0}), Score(1.0, parts={"a": 1.0})}) == 1


def test_a_score_is_json() -> None:
    score = Score(0.5, "so so", {"a": 0.5})
    assert score.to_json() == {"value": 0.5, "feedback": "so so", "parts": {"a": 0.5}}


@pytest.mark.parametrize(
    ("metric", "name"),
    [(with_two, "with_two"), (partial(with_two), "with_two"), (Judge(), "Judge")],
)
def test_every_metric_has_a_name(metric: Callable[..., Any], name: str) -> None:
    assert metric_name(metric) == name


@pytest.mark.parametrize(
    ("given", "value"),
    [
        (np.bool_(True), 1.0),
        (np.bool_(False), 0.0),
        (np.float32(0.5), 0.5),
        (np.int64(1), 1.0),
        (np.array(0.25), 0.25),
        (np.array(True), 1.0),
        (Decimal("0.75"), 0.75),
    ],
)
async def test_scores_of_numpy_and_decimals_are_numbers(given: Any, value: float) -> None:
    score = await call_metric(lambda example, prediction: given, ROW, None)
    assert (score.value, type(score.value)) == (value, float)
    parts = await call_metric(
        lambda example, prediction: Score(given, parts={"p": given}), ROW, None
    )
    assert parts == Score(value, parts={"p": value})


@pytest.mark.parametrize(
    "given", [np.array([0.5]), np.array([0.1, 0.2]), Decimal("NaN"), Decimal("sNaN"), 10**400, "1"]
)
async def test_what_is_no_number_from_0_to_1_is_no_score(given: Any) -> None:
    with pytest.raises(MetricError, match="expected True, False, a number"):
        await call_metric(lambda example, prediction: given, ROW, None)


def test_a_score_can_be_pickled_and_copied() -> None:
    score = Score(0.5, "half", {"a": 0.5}, {"write": "too long"})
    for again in (pickle.loads(pickle.dumps(score)), copy.deepcopy(score)):
        assert again == score
        assert dict(again.parts) == {"a": 0.5}
        assert dict(again.predictor_feedback) == {"write": "too long"}


async def test_feedback_on_predictors_is_text() -> None:
    given = Score(0.5, predictor_feedback={"write": 3})  # type: ignore[dict-item]
    with pytest.raises(MetricError, match="feedback must be text"):
        await call_metric(lambda example, prediction: given, ROW, None)
