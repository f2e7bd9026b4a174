"""What a part adds: paired on the same examples, with a verdict."""

from __future__ import annotations

from dataclasses import replace

import pytest

import lmpipe
from lmpipe.compiling.ablation import Effect
from lmpipe.evaluation.results import Evaluation, Row
from lmpipe.foundation.statistics import Interval, paired_interval
from lmpipe.lm.call import Call
from lmpipe.lm.request import Reply
from lmpipe.metrics import Score
from lmpipe.optimize.engine.objectives import Objectives
from lmpipe.state.trace import Trace
from lmpipe.state.usage import Usage


def scored(*values: float, prompt_tokens: int = 0) -> Evaluation:
    example = lmpipe.Example(thing="sky").with_inputs("thing")
    call = Call("k", "self", "task", "m", None, Reply("", usage=Usage(prompt_tokens, 1)))
    return Evaluation(
        tuple(
            Row(index, example, None, Score(value), None, Trace(), (call,), 1.0)
            for index, value in enumerate(values)
        )
    )


def test_an_effect_is_the_difference_on_the_same_examples() -> None:
    effect = Effect.between(scored(1, 1, 0, 1), scored(0, 1, 0, 0))
    assert (effect.score, effect.difference, effect.examples) == (0.25, 0.5, 4)
    assert effect.interval == paired_interval([1, 0, 0, 1])


def test_the_score_of_a_part_alone_is_the_score_with_it() -> None:
    assert Effect.between(scored(1, 1), scored(0, 1), alone=True).score == 1.0


def test_prompt_tokens_are_those_of_a_run() -> None:
    present, absent = scored(1, 1, prompt_tokens=90), scored(1, 1, prompt_tokens=40)
    assert Effect.between(present, absent).prompt_tokens == 50


def test_calls_of_the_metric_are_not_part_of_a_run() -> None:
    present, absent = scored(1, 1, prompt_tokens=90), scored(1, 1, prompt_tokens=40)
    judge = Call("k", "", "judge", "m", None, Reply("", usage=Usage(500, 1)))
    judged = Evaluation(tuple(replace(row, calls=(*row.calls, judge)) for row in present.rows))
    assert Effect.between(judged, absent).prompt_tokens == 50


def test_with_objectives_the_verdict_goes_by_the_weighted_scores() -> None:
    long, short = scored(*[1] * 20, prompt_tokens=900), scored(*[1] * 20, prompt_tokens=100)
    assert Effect.between(short, long).verdict == "can be left out"
    effect = Effect.between(short, long, objectives=Objectives(tokens=-1.0))
    assert effect.weighted is not None
    assert effect.difference == 0
    assert effect.weighted.mean == pytest.approx(0.8)
    assert effect.verdict == "needed"


@pytest.mark.parametrize(
    ("difference", "low", "high", "verdict"),
    [
        (0.2, 0.1, 0.3, "needed"),
        (0.2, 0.0, 0.4, "not certain"),
        (0.0, 0.0, 0.0, "can be left out"),
        (-0.1, -0.2, 0.1, "can be left out"),
        (-0.2, -0.3, -0.1, "better without it"),
    ],
)
def test_the_verdict_follows_from_the_interval_and_the_difference(
    difference: float, low: float, high: float, verdict: str
) -> None:
    assert Effect(0.5, difference, Interval(low, high), 0.0, 20).verdict == verdict
