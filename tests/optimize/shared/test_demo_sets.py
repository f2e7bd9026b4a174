"""Choices of demonstrations: which there are, and how a choice changes a state."""

from __future__ import annotations

import random
from typing import Any

import pytest
from helpers.world import NameColour, TwoSteps, things

import lmpipe
from lmpipe.optimize.shared.demo_sets import DemoChoice, demo_choices
from lmpipe.optimize.shared.draw_demos import labeled_demos
from lmpipe.state.program_state import Demo, Retrieval

PREDICTOR = lmpipe.Predict(NameColour)
START = PREDICTOR.state()["self"]
LABELED = labeled_demos(PREDICTOR.predictors(), things(40))["self"]
OWN = [
    Demo(inputs={"thing": f"apple number {n}"}, outputs={"colour": "red"}, source="bootstrapped")
    for n in range(500, 508)
]


def made(labeled: list[Demo], own: list[Demo], **changes: Any) -> list[DemoChoice]:
    settings: dict[str, Any] = {"count": 10, "most": 6, "bootstrapped": 2, "start": START}
    settings |= changes
    return demo_choices(
        settings.pop("start"), PREDICTOR.spec, labeled, own, rng=random.Random(0), **settings
    )


def test_no_demos_and_the_nearest_come_before_sets() -> None:
    first, second, *sets = made(LABELED, OWN)
    assert (first.demos, first.retrieval) == ((), None)
    assert second.retrieval is not None
    assert set(second.retrieval.pool) == {*OWN, *LABELED}
    assert len(sets) == 8
    assert all(choice.demos and choice.retrieval is None for choice in sets)


def test_sets_have_different_sizes_up_to_the_maximum() -> None:
    sizes = {len(choice.demos) for choice in made(LABELED, OWN)[2:]}
    assert len(sizes) > 1
    assert max(sizes) <= 6


def test_some_sets_are_only_labeled_and_some_partly_bootstrapped() -> None:
    counts = [
        sum(demo.source == "bootstrapped" for demo in choice.demos)
        for choice in made(LABELED, OWN)[2:]
    ]
    assert 0 in counts
    assert 0 < max(counts) <= 2


def test_without_labels_sets_are_bootstrapped() -> None:
    assert all(set(choice.demos) <= set(OWN) for choice in made([], OWN)[2:])


def test_without_demonstrations_the_only_choice_is_no_demos() -> None:
    assert made([], []) == [DemoChoice("no demos")]


def test_equal_sets_are_one_choice() -> None:
    choices = made(LABELED[:2], [])
    shown = [choice.demos for choice in choices if choice.demos]
    assert len(shown) == len(set(shown)) <= 4


def test_the_nearest_are_no_more_than_the_pool_has() -> None:
    near = made(LABELED[:3], [], most=12)[1]
    assert near.name == "3 nearest demos"
    assert near.retrieval is not None
    assert near.retrieval.k == 3


def test_choices_have_distinct_names() -> None:
    names = [choice.name for choice in made(LABELED, OWN)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_the_number_of_choices_is_that_asked_for(count: int) -> None:
    assert len(made(LABELED, OWN, count=count)) == count


def test_the_demonstrations_of_the_start_come_first() -> None:
    start = START.replace(demos=tuple(LABELED[:3]))
    first, second, *_ = made(LABELED, OWN, start=start)
    assert first.demos == start.demos
    assert second == DemoChoice("no demos")


def test_a_choice_replaces_all_demonstrations_of_one_predictor() -> None:
    start = TwoSteps().state().map(demos=tuple(OWN[:1]))
    near = DemoChoice("nearest", retrieval=Retrieval(pool=tuple(LABELED), k=2))
    state = near.apply(start, "name")
    assert (state["name"].demos, state["name"].retrieval) == ((), near.retrieval)
    assert state["describe"] == start["describe"]
    back = DemoChoice("one", demos=tuple(OWN[:1])).apply(state, "name")
    assert back == start
