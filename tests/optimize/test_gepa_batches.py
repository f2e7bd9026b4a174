"""Which training examples a proposer is shown."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

from helpers.world import NameColour

import lmpipe
from lmpipe.evaluation.results import Row
from lmpipe.metrics import Score
from lmpipe.optimize.gepa_batches import MiniBatches
from lmpipe.optimize.gepa_knowledge import Knowledge
from lmpipe.optimize.shared.paired_test import PairedTest
from lmpipe.state.program_state import ProgramState
from lmpipe.state.trace import Trace

EXAMPLE = lmpipe.Example(thing="apple", colour="red").with_inputs("thing")
START, CHILD = (
    lmpipe.Predict(NameColour).state().map(instruction=text) for text in ("start", "child")
)


def batches(rows: dict[ProgramState, dict[int, float]], *, train: int = 6) -> MiniBatches:
    """Choose among training examples, of which some scores of the child and the start are known."""
    task: Any = SimpleNamespace(val=range(1), train=range(train), known=lambda one: {})
    known = Knowledge(task, PairedTest(0.1))
    known.descend(CHILD, [START])
    for state, scores in rows.items():
        for index, score in scores.items():
            row = Row(index, EXAMPLE, None, Score(score), None, Trace([]), (), 0.0)
            known.keep(state, index, row)
    return MiniBatches(known, random.Random(0), 2)


def test_what_goes_wrong_comes_first_and_what_is_known_to_go_right_last() -> None:
    found = batches({CHILD: {0: 1.0, 1: 0.0}, START: {0: 0.0, 2: 0.0, 3: 1.0}}, train=5)
    assert found.in_order(CHILD, []) == [1, 2, 4, 3, 0]


def test_of_equal_ones_what_went_wrong_more_often_comes_first() -> None:
    found = batches({CHILD: {0: 0.0, 1: 0.0}, START: {0: 1.0, 1: 0.0}}, train=2)
    assert found.in_order(CHILD, []) == [1, 0]


def test_an_example_serves_a_parent_twice_before_it_does_again() -> None:
    found = batches({CHILD: dict.fromkeys(range(4), 0.0)}, train=4)
    shown = [index for _ in range(4) for index in found.choose(CHILD, [])]
    assert sorted(shown) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_an_example_of_which_nothing_was_learned_serves_once() -> None:
    found = batches({CHILD: dict.fromkeys(range(4), 0.0)}, train=4)
    first = found.choose(CHILD, [])
    found.learned_nothing(CHILD, first)
    assert not set(found.choose(CHILD, [])) & set(first)


def test_others_than_those_that_are_taken_are_chosen() -> None:
    found = batches({CHILD: dict.fromkeys(range(4), 0.0)}, train=4)
    assert set(found.choose(CHILD, [0, 1])) == {2, 3}
