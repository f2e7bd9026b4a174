"""The metric is tried on gold labels before anything is paid for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.world import GREENS, NameColour, TwoSteps, recipe, student, things

import lmpipe
from lmpipe.compiling.metric_trial import try_metric
from lmpipe.compiling.recipe import prepare
from lmpipe.errors import MetricError, RecipeError
from lmpipe.metrics import exact_match, judge

Metric = Callable[..., Any]


def misspelled(example: lmpipe.Example, prediction: Any) -> bool:
    return bool(example.color == prediction.colour)


def misread(example: lmpipe.Example, prediction: Any) -> bool:
    return bool(prediction.color == example.colour)


def forgets_to_return(example: lmpipe.Example, prediction: Any) -> Any:
    prediction.colour == example.colour  # noqa: B015


@pytest.mark.parametrize(
    "metric", [misspelled, misread, forgets_to_return, exact_match("colour", gold="color")]
)
def test_a_metric_that_raises_on_gold_labels_stops_before_anything_is_paid(
    tmp_path: Path, metric: Metric
) -> None:
    lm = student()
    with pytest.raises(MetricError, match=r"raised on every row; on row 1 of train.*labels are"):
        lmpipe.compile(recipe(student=lm, metric=metric), runs=tmp_path / "runs")
    assert not lm.requests
    assert not (tmp_path / "runs").exists()


async def test_the_line_of_the_metric_that_raises_is_named() -> None:
    line = misspelled.__code__.co_firstlineno + 1
    with pytest.raises(MetricError, match=rf"AttributeError: .*test_metric_trial\.py:{line};"):
        await try_metric(prepare(recipe(metric=misspelled)))


async def test_gold_labels_that_score_below_1_are_told() -> None:
    def half(example: lmpipe.Example, prediction: Any) -> lmpipe.Score:
        right = prediction.colour == example.colour
        return lmpipe.Score(0.5 * right, "no reason was given")

    told = await try_metric(prepare(recipe(metric=half)))
    assert "below 1 on 24 of 24 rows; on row 1 of train: 0.5 (no reason was given)" in told


async def test_a_metric_that_raises_on_some_gold_labels_is_told() -> None:
    def touchy(example: lmpipe.Example, prediction: Any) -> bool:
        if example.colour == "blue":
            raise ValueError("no blue")
        return bool(prediction.colour == example.colour)

    told = await try_metric(prepare(recipe(metric=touchy)))
    assert "ValueError: no blue" in told
    assert "of 24 rows; on row" in told


def renamed(rows: list[lmpipe.Example]) -> list[lmpipe.Example]:
    """Name the label `gold` rather than `colour`."""
    return [lmpipe.Example(thing=r.thing, gold=r.colour).with_inputs("thing") for r in rows]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"program": TwoSteps()},
        {"program": lmpipe.ChainOfThought(NameColour)},
        {
            "train": renamed(things(40)),
            "val": renamed(things(30, seed=1, start=100)),
            "test": None,
            "metric": exact_match("colour", gold="gold"),
        },
    ],
    ids=["a predictor", "a program", "an output without labels", "a label of another name"],
)
async def test_a_metric_that_gives_gold_labels_1_is_not_mentioned(changes: dict[str, Any]) -> None:
    assert await try_metric(prepare(recipe(**changes))) == ""


async def test_a_typed_function_is_tried_too() -> None:
    @lmpipe.predict
    def name(thing: str) -> int:
        """Which number does the thing have?"""
        raise NotImplementedError

    def doubled(example: lmpipe.Example, prediction: Any) -> bool:
        return bool(2 * prediction == example.number)

    rows = [lmpipe.Example(thing=f"thing {n}", number=n).with_inputs("thing") for n in range(1, 9)]
    made = recipe(program=name, train=rows, val=None, test=None, metric=doubled)
    assert "below 1 on 8 of 8 rows" in await try_metric(prepare(made))


@pytest.mark.parametrize("declared", [True, False])
async def test_a_metric_that_asks_an_lm_is_not_asked(declared: bool) -> None:
    lm = student()
    ask = lmpipe.Predict(NameColour, lm=lm)

    async def asks(example: lmpipe.Example, prediction: Any) -> bool:
        return bool((await ask.acall(thing=example.thing)).colour == prediction.colour)

    prepared = prepare(recipe(metric=judge(max_calls=2)(asks) if declared else asks))
    if declared:
        assert await try_metric(prepared) == ""
    else:
        with pytest.raises(RecipeError, match="max_calls"):
            await try_metric(prepared)
    assert not lm.requests


async def test_a_metric_that_reads_the_trace_or_an_output_without_labels_is_not_judged() -> None:
    def of_trace(example: lmpipe.Example, prediction: Any, trace: lmpipe.Trace) -> bool:
        return bool(trace.steps[-1].outputs["colour"] == example.colour)

    def of_reasoning(example: lmpipe.Example, prediction: Any) -> bool:
        return bool(prediction.reasoning and prediction.colour == example.colour)

    assert await try_metric(prepare(recipe(metric=of_trace))) == ""
    reasons = recipe(program=lmpipe.ChainOfThought(NameColour), metric=of_reasoning)
    assert await try_metric(prepare(reasons)) == ""


async def test_the_score_of_rows_without_labels_is_not_judged() -> None:
    rows = [lmpipe.Example(thing=row.thing).with_inputs("thing") for row in things(20)]
    made = recipe(train=rows, val=None, test=None, metric=lambda example, prediction: 0.0)
    assert await try_metric(prepare(made)) == ""


async def test_a_program_whose_result_is_not_known_is_not_judged() -> None:
    class Unknown(lmpipe.Module):
        def __init__(self) -> None:
            self.name = lmpipe.Predict(NameColour)

        def forward(self, thing: str):  # type: ignore[no-untyped-def]
            return {"colours": [self.name(thing=thing).colour]}

    def of_list(example: lmpipe.Example, prediction: Any) -> bool:
        return example.colour in prediction["colours"]

    # It does not return what its predictor returns, so the metric cannot be tried.
    assert await try_metric(prepare(recipe(program=Unknown(), metric=of_list, train=GREENS))) == ""


def test_a_field_that_a_row_hides_behind_a_method_is_told_how_to_read() -> None:
    rows = [lmpipe.Example(text=f"t{n}", items=["a"]).with_inputs("text") for n in range(6)]
    made = lmpipe.Recipe(
        program=lmpipe.Predict("text -> items: list[str]"),
        train=rows[:4],
        test=rows[4:],
        metric=lambda example, prediction: set(example.items) == set(prediction.items),
        student=lmpipe.ScriptedLM(['["a"]']),
    )
    with pytest.raises(MetricError, match=r"is read as example\['items'\]"):
        lmpipe.compile(made)
