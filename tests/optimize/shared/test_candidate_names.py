"""The names of candidates say what really differs."""

from __future__ import annotations

from helpers.world import NameColour, TwoSteps

import lmpipe
from lmpipe.optimize.shared.candidate_names import changes_words, demos_words
from lmpipe.state.lessons import Lesson
from lmpipe.state.program_state import Demo, ProgramState, Retrieval


def demos(count: int) -> tuple[Demo, ...]:
    return tuple(
        Demo(inputs={"thing": f"thing {number}"}, outputs={"colour": "red"})
        for number in range(count)
    )


def one(**changes: object) -> ProgramState:
    return lmpipe.Predict(NameColour).state().map(**changes)


def test_demonstrations_are_counted_as_they_are_shown() -> None:
    assert demos_words(one()) == "no demos"
    assert demos_words(one(demos=demos(1))) == "1 demo"
    assert demos_words(one(demos=demos(3))) == "3 demos"
    assert demos_words(one(retrieval=Retrieval(pool=demos(5), k=2))) == "2 nearest demos"


def test_no_more_demonstrations_are_named_than_the_pool_has() -> None:
    assert demos_words(one(retrieval=Retrieval(pool=demos(1), k=8))) == "1 nearest demo"
    assert demos_words(one(retrieval=Retrieval(pool=(), k=8))) == "no demos"


def test_predictors_that_differ_are_named() -> None:
    state = TwoSteps().state()
    shown = state.replace(name=state["name"].replace(demos=demos(2)))
    assert demos_words(shown) == "no demos for describe, 2 demos for name"


def test_changes_are_those_from_the_start() -> None:
    state = TwoSteps().state()
    assert changes_words(state, state) == "as at the start"
    told = state.replace(name=state["name"].replace(instruction="Look."))
    assert changes_words(state, told) == "new instruction for name"
    shown = told.map(demos=demos(2))
    assert changes_words(state, shown) == "new instruction for name, 2 demos"
    assert changes_words(one(), one(instruction="Look.")) == "new instruction"
    taught = shown.replace(describe=shown["describe"].replace(lessons=(Lesson(text="Look."),)))
    assert changes_words(state, taught) == "new instruction for name, 1 lesson, 2 demos"
    counted = (Lesson(text="Look.", helpful=1),)
    recounted = taught.replace(describe=taught["describe"].replace(lessons=counted))
    assert changes_words(taught, recounted) == "as at the start"
    described = told.replace(name=told["name"].replace(descriptions={"colour": "a word"}))
    assert changes_words(state, described) == (
        "new instruction for name, new description of name.colour"
    )
    assert changes_words(one(), one(descriptions={"colour": "a word"})) == (
        "new description of colour"
    )
