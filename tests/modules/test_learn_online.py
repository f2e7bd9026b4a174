"""`program.learn`: lessons from single runs, outside of a compile."""

from __future__ import annotations

import asyncio
import pickle
from pathlib import Path
from typing import Any

import orjson
import pytest
from helpers.world import NameColour, TwoSteps

import lmpipe
from lmpipe.errors import CallError, DataError, OutputError
from lmpipe.lm.metering import track_usage
from lmpipe.lm.request import Request
from lmpipe.modules import Ensemble
from lmpipe.state.lessons import Lesson

APPLE = lmpipe.Example(thing="apple", colour="red").with_inputs("thing")


class Teacher:
    """A proposer that writes the same answer each time, and records its questions."""

    def __init__(self, *, context: int = 8192, **values: Any) -> None:
        self.asked: list[dict[str, str]] = []
        self._values = {"cause": "", "new_lessons": [], "helpful": [], "harmful": [], **values}
        self.lm = lmpipe.ScriptedLM(self._answer, name="proposer", context=context)

    def _answer(self, request: Request) -> str:
        assert request.constraint is not None
        self.asked.append(orjson.loads(request.messages[-1].text))
        names = orjson.loads(request.constraint.value)["properties"]
        return orjson.dumps({name: self._values[name] for name in names}).decode()


def wrong(thing: str = "apple") -> NameColour:
    return NameColour(thing=thing, colour="blue")


def test_a_program_learns_a_lesson_which_its_prompts_show() -> None:
    program, teacher = lmpipe.Predict(NameColour), Teacher(new_lessons=["Apples are red."])
    taught = program.learn(APPLE, wrong(), "apples are not blue", proposer=teacher.lm)
    assert taught.state()["self"].lessons == (Lesson(text="Apples are red."),)
    assert "- Apples are red." in taught.messages(thing="apple")[0].text


def test_the_program_itself_does_not_change() -> None:
    program, teacher = lmpipe.Predict(NameColour), Teacher(new_lessons=["Apples are red."])
    before = program.state()
    program.learn(APPLE, wrong(), proposer=teacher.lm)
    assert program.state() == before


def test_the_question_shows_the_run_and_what_is_said_about_it() -> None:
    teacher = Teacher()
    program = lmpipe.Predict(NameColour)
    program.learn(APPLE, wrong(), "apples are not blue", score=0.25, proposer=teacher.lm)
    (asked,) = teacher.asked
    assert asked["run"] == (
        'given to the program: {"thing": "apple"}\n'
        'result: {"colour": "blue"}\n'
        'expected: {"colour": "red"}\n'
        "score: 0.25\n"
        "feedback: apples are not blue"
    )
    assert "Which colour does the thing have?" in asked["program"]


def test_inputs_by_name_are_an_example_without_labels() -> None:
    teacher = Teacher()
    lmpipe.Predict(NameColour).learn({"thing": "apple"}, wrong(), proposer=teacher.lm)
    assert "expected" not in teacher.asked[0]["run"]


def test_an_error_is_a_result_too() -> None:
    teacher = Teacher()
    error = OutputError("no colour in the reply", raw="")
    lmpipe.Predict(NameColour).learn(APPLE, error, proposer=teacher.lm)
    assert "it failed: no colour in the reply" in teacher.asked[0]["run"]


def test_the_steps_of_a_trace_are_shown_by_their_paths() -> None:
    student = lmpipe.ScriptedLM(
        lambda request: "[[words]]\na fruit" if "few words" in request.messages[0].text
        else "[[colour]]\nblue"
    )  # fmt: skip
    (row,) = lmpipe.evaluate(TwoSteps(), [APPLE], lambda *_: 0.0, lm=student).rows
    program, teacher = TwoSteps(), Teacher(step="describe", new_lessons=["Name the kind."])
    taught = program.learn(APPLE, row.prediction, "wrong", trace=row.trace, proposer=teacher.lm)
    assert '"step": "describe", "inputs": {"thing": "apple"}' in teacher.asked[0]["run"]
    assert '"words": "a fruit"' in teacher.asked[0]["run"]
    assert [len(item.lessons) for item in taught.state().predictors.values()] == [1, 0]


def test_lessons_that_helped_or_did_harm_are_counted_and_dropped_in_the_end() -> None:
    program: Any = lmpipe.Predict(NameColour)
    lessons = (Lesson(text="Apples are red."), Lesson(text="All is blue.", harmful=1))
    program = program.bind(program.state().map(lessons=lessons))
    teacher = Teacher(helpful=[1], harmful=[2])
    taught = program.learn(APPLE, wrong(), proposer=teacher.lm)
    assert taught.state()["self"].lessons == (Lesson(text="Apples are red.", helpful=1),)
    assert teacher.asked[0]["lessons"] == "1. Apples are red.\n2. All is blue."


def test_a_run_that_teaches_nothing_leaves_the_state_as_it_is() -> None:
    program = lmpipe.Predict(NameColour)
    assert program.learn(APPLE, wrong(), proposer=Teacher().lm).state() == program.state()


def test_counts_do_not_change_prompts() -> None:
    program: Any = lmpipe.Predict(NameColour)
    program = program.bind(program.state().map(lessons=(Lesson(text="Apples are red."),)))
    taught = program.learn(APPLE, wrong(), proposer=Teacher(helpful=[1]).lm)
    assert taught.state() != program.state()
    assert taught.messages(thing="sky") == program.messages(thing="sky")


def test_alearn_does_the_same() -> None:
    program, teacher = lmpipe.Predict(NameColour), Teacher(new_lessons=["Apples are red."])
    learning = program.alearn(APPLE, wrong(), proposer=teacher.lm)
    assert asyncio.run(learning).state() == program.learn(
        APPLE, wrong(), proposer=teacher.lm
    ).state()  # fmt: skip


def test_the_configured_lm_is_asked_by_default() -> None:
    teacher = Teacher(new_lessons=["Apples are red."])
    with lmpipe.using(lm=teacher.lm), track_usage() as usage:
        lmpipe.Predict(NameColour).learn(APPLE, wrong())
    assert usage.total.calls == len(teacher.asked) == 1


def test_the_members_of_an_ensemble_learn_together() -> None:
    member = lmpipe.Predict(NameColour)
    program: Any = Ensemble([member, member.bind(member.state().map(layout="plain"))])
    teacher = Teacher(new_lessons=["Apples are red."])
    taught = program.learn(APPLE, wrong(), proposer=teacher.lm)
    assert [len(item.lessons) for item in taught.state().predictors.values()] == [1, 1]


def test_what_was_learned_is_saved_pickled_and_loaded_with_the_state(tmp_path: Path) -> None:
    program = lmpipe.Predict(NameColour)
    taught = program.learn(APPLE, wrong(), proposer=Teacher(new_lessons=["Apples are red."]).lm)
    (tmp_path / "state.json").write_bytes(taught.state().to_bytes())
    read = lmpipe.ProgramState.from_bytes((tmp_path / "state.json").read_bytes())
    assert program.bind(read).state() == taught.state()
    assert pickle.loads(pickle.dumps(taught)).state() == taught.state()


def test_a_long_run_is_cut_in_the_middle_of_its_long_values() -> None:
    teacher = Teacher(context=2000)
    said = "begin " + "word " * 4000 + "end"
    lmpipe.Predict(NameColour).learn(APPLE, wrong(), said, proposer=teacher.lm)
    (asked,) = teacher.asked
    assert "feedback: begin word" in asked["run"]
    assert asked["run"].endswith("word end")
    assert "characters left out" in asked["run"]
    assert len(asked["run"]) < 4000


def test_an_answer_that_cannot_be_read_is_an_error() -> None:
    with pytest.raises(OutputError):
        lmpipe.Predict(NameColour).learn(APPLE, wrong(), proposer=lmpipe.ScriptedLM(["?", "?"]))


@pytest.mark.parametrize("example", ["apple", {1: "apple"}])
def test_something_else_than_an_example_is_refused(example: Any) -> None:
    with pytest.raises(CallError, match=rf"takes the example .* got {example!r}"):
        lmpipe.Predict(NameColour).learn(example, wrong(), proposer=Teacher().lm)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"feedback": 0.5}, r"feedback in words, and a number as score=…; got 0\.5"),
        ({"score": "good"}, r"learn\(score='good'\): score must be a number, from 0 to 1"),
        ({"score": float("nan")}, r"learn\(score=nan\)"),
        ({"score": 7}, r"learn\(score=7\)"),
        ({"trace": "describe"}, r"such as row\.trace; got 'describe'"),
    ],
)
def test_what_is_said_about_a_run_is_checked(told: dict[str, Any], message: str) -> None:
    teacher = Teacher()
    with pytest.raises(CallError, match=message):
        lmpipe.Predict(NameColour).learn(APPLE, wrong(), proposer=teacher.lm, **told)
    assert not teacher.asked


def test_a_program_without_predictors_cannot_learn() -> None:
    class Echo(lmpipe.Module):
        def forward(self, thing: str) -> str:
            return thing

    with pytest.raises(CallError, match="Echo has no predictors"):
        Echo().learn(APPLE, "apple", proposer=Teacher().lm)


def test_an_example_that_does_not_name_its_inputs_is_refused() -> None:
    with pytest.raises(DataError, match="which fields are inputs"):
        lmpipe.Predict(NameColour).learn(
            lmpipe.Example(thing="apple"), wrong(), proposer=Teacher().lm
        )
