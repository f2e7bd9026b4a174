"""What is asked about a run, and how a state takes up the answer."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.world import NameColour, TwoSteps

import lmpipe
from lmpipe.modules.learning import (
    Taught,
    clean_lesson,
    lessons_by_step,
    numbered_lessons,
    reflection_signature,
    with_taught,
)
from lmpipe.state.lessons import Lesson, LessonDelta, texts_of
from lmpipe.state.program_state import ProgramState, ensemble_state


def two_steps(**lessons: tuple[str, ...]) -> ProgramState:
    state = TwoSteps().state()
    return state.update(
        {
            path: state[path].replace(lessons=tuple(Lesson(text=text) for text in texts))
            for path, texts in lessons.items()
        }
    )


def answered(state: ProgramState, **values: Any) -> Taught:
    question: Any = reflection_signature(tuple(state.predictors))
    given = dict.fromkeys(("program", "lessons", "run", "tried"), "")
    empty = {"cause": "", "new_lessons": [], "helpful": [], "harmful": []}
    return Taught.of(question(**given, **{**empty, **values}), state)


def test_a_program_of_one_step_is_not_asked_which_step_has_to_learn() -> None:
    assert "step" not in reflection_signature(["self"]).model_fields
    assert "step" in reflection_signature(["describe", "name"]).model_fields


def test_lessons_are_numbered_over_all_steps() -> None:
    state = two_steps(describe=("Look.",), name=("Think.", "Decide."))
    assert numbered_lessons(state) == "describe:\n1. Look.\nname:\n2. Think.\n3. Decide."
    assert numbered_lessons(TwoSteps().state()) == "none"


def test_an_answer_adds_lessons_to_a_step_and_counts_those_of_all_steps() -> None:
    state = two_steps(describe=("Look.",), name=("Think.",))
    learned = answered(state, step="name", new_lessons=["Ask."], helpful=[1], harmful=[2])
    assert learned.deltas == {
        "describe": LessonDelta(helpful=("Look.",)),
        "name": LessonDelta(added=("Ask.",), harmful=("Think.",)),
    }


def test_a_lesson_that_is_there_already_is_not_added() -> None:
    state = two_steps(name=("Think.",))
    learned = answered(state, step="name", new_lessons=["think!", "- Ask.", "2. Ask."])
    assert learned.deltas == {"name": LessonDelta(added=("Ask.",))}


@pytest.mark.parametrize("number", [0, -1, 3])
def test_numbers_of_no_lesson_are_left_out(number: int) -> None:
    state = two_steps(name=("Think.", "Ask."))
    assert answered(state, step="name", helpful=[number], harmful=[number]).deltas == {}


@pytest.mark.parametrize(
    ("written", "lesson"),
    [
        ("- Look.", "Look."),
        ("* Look.", "Look."),
        ("12) Look.", "Look."),
        ("3 colours are known.", "3 colours are known."),
        ("-5 is below 0.", "-5 is below 0."),
        ("  ", ""),
    ],
)
def test_bullets_and_numbers_before_lessons_are_stripped(written: str, lesson: str) -> None:
    assert clean_lesson(written) == lesson


def test_a_state_takes_up_what_several_runs_taught() -> None:
    state = two_steps(name=("Think.",))
    taught = with_taught(
        state,
        [
            Taught({"name": LessonDelta(added=("Ask.",))}),
            Taught({"name": LessonDelta(helpful=("Think.",)), "describe": LessonDelta(("Look.",))}),
        ],
    )
    assert taught["name"].lessons == (Lesson(text="Think.", helpful=1), Lesson(text="Ask."))
    assert taught["describe"].lessons == (Lesson(text="Look."),)


def test_all_members_of_an_ensemble_learn() -> None:
    member = lmpipe.Predict(NameColour).state()
    state = ensemble_state([member, member.map(lessons=(Lesson(text="Look."),))])
    assert numbered_lessons(state) == "1. Look."
    taught = with_taught(state, [Taught({"self": LessonDelta(("Ask.",), helpful=("Look.",))})])
    assert [texts_of(item.lessons) for item in taught.predictors.values()] == [
        ("Ask.",),
        ("Look.", "Ask."),
    ]
    assert texts_of(lessons_by_step(taught)["self"]) == ("Ask.", "Look.")
