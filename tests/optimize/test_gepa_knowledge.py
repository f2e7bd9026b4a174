"""What is known of states: what they inherit, what they promise, and who stands out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from helpers.world import NameColour

import lmpipe
from lmpipe.evaluation.results import Row
from lmpipe.metrics import Score
from lmpipe.optimize.gepa_knowledge import Knowledge
from lmpipe.optimize.shared.paired_test import PairedTest
from lmpipe.state.program_state import ProgramState
from lmpipe.state.trace import Trace

EXAMPLE = lmpipe.Example(thing="apple", colour="red").with_inputs("thing")
ROWS = 10


def state(instruction: str) -> ProgramState:
    return lmpipe.Predict(NameColour).state().map(instruction=instruction)


START, CHILD, OTHER = state("start"), state("child"), state("other")


def row(score: float) -> Row:
    return Row(0, EXAMPLE, None, Score(score), None, Trace([]), (), 0.0)


def knowledge(val: dict[ProgramState, list[float]]) -> Knowledge:
    """Know validation scores of states, on the first examples each."""
    known = {one: dict(enumerate(map(row, scores))) for one, scores in val.items()}
    task: Any = SimpleNamespace(
        val=range(ROWS), train=range(ROWS), known=lambda one: known.get(one, {})
    )
    return Knowledge(task, PairedTest(0.1))


def test_what_a_state_was_not_run_on_is_what_its_parent_did() -> None:
    known = knowledge({START: [0.0] * ROWS, CHILD: [1.0]})
    known.descend(CHILD, [START])
    assert known.val_scores(CHILD) == {0: 1.0} | dict.fromkeys(range(1, ROWS), 0.0)


def test_gains_on_training_examples_promise_a_better_score() -> None:
    known = knowledge({START: [0.0] * ROWS})
    known.descend(CHILD, [START])
    for index in range(4):
        known.keep(START, index, row(0.0))
        known.keep(CHILD, index, row(1.0))
    assert known.promise(CHILD) == pytest.approx(0.4, abs=0.05)
    assert known.leader([START, CHILD]) == CHILD


def test_a_new_score_changes_what_is_promised() -> None:
    known = knowledge({START: [0.0] * ROWS})
    known.descend(CHILD, [START])
    before = known.promise(CHILD)
    known.keep(START, 0, row(0.0))
    known.keep(CHILD, 0, row(1.0))
    assert known.promise(CHILD) > before


def test_where_nothing_flickers_every_state_that_is_best_somewhere_is_on_the_front() -> None:
    known = knowledge({START: [1.0] * 5 + [0.0] * 5, CHILD: [0.0] * 9 + [1.0]})
    known.test.learn([(1.0, 1.0)] * 100, [1.0])
    assert known.front([START, CHILD])[True, 9] == {1}


def test_where_answers_flicker_a_state_must_be_better_on_more_examples_than_by_chance() -> None:
    known = knowledge({START: [1.0] * 5 + [0.0] * 5, CHILD: [0.0] * 9 + [1.0]})
    known.test.learn([(1.0, 0.0)] * 40 + [(1.0, 1.0)] * 60, [1.0])
    assert all(numbers == {0} for numbers in known.front([START, CHILD]).values())


def test_the_past_of_an_example_is_that_of_a_state_and_its_ancestors() -> None:
    known = knowledge({START: [0.0]})
    known.descend(CHILD, [START])
    known.descend(OTHER, [CHILD])
    known.keep(START, 3, row(0.0))
    known.keep(OTHER, 3, row(1.0))
    assert known.past(OTHER, 3) == [1.0, 0.0]
    assert known.past(CHILD, 3) == [0.0]
