"""Playbook: which lessons are kept, counted, dropped and rolled back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from helpers.scripts import in_layout, instruction_of, kind_of, number_of, reply_to
from helpers.world import COLOURS, Describe, NameColour, TwoSteps, recipe

import lmpipe
from lmpipe.compiling.recipe import prepare
from lmpipe.errors import RecipeError
from lmpipe.lm.request import Request
from lmpipe.optimize import Sizes
from lmpipe.state.lessons import Lesson, texts_of

RULES = {kind: f"The {kind} is {colour}." for kind, colour in COLOURS.items()}
MISLEADING = "All things are violet."


def with_feedback(example: lmpipe.Example, prediction: Any) -> lmpipe.Score:
    kind = example.thing.split()[0]
    right = example.colour == prediction.colour
    return lmpipe.Score(float(right), feedback="" if right else f"remember: {RULES[kind]}")


def follows_rules(request: Request) -> str:
    """Reply as a student that knows a colour only from the rules of its prompt."""
    told = instruction_of(request)
    if "- words" in told:
        return in_layout(request, "words", "a thing")
    kind = kind_of(request)
    right = RULES[kind] in told and MISLEADING not in told
    wrong = {"red": "green", "green": "blue", "blue": "red"}[COLOURS[kind]]
    return in_layout(request, "colour", COLOURS[kind] if right else wrong)


class Proposer:
    """Writes lessons from what a question shows of the run, and records the questions."""

    def __init__(self, write: Any = None) -> None:
        self.asked: list[dict[str, str]] = []
        self._write = write or named_rules
        self.lm = lmpipe.ScriptedLM(self._answer, name="proposer")

    def _answer(self, request: Request) -> str:
        assert request.constraint is not None
        self.asked.append(orjson.loads(request.messages[-1].text))
        written = {"cause": "", "step": "name", "new_lessons": [], "helpful": [], "harmful": []}
        written |= self._write(self.asked[-1])
        names = orjson.loads(request.constraint.value)["properties"]
        return orjson.dumps({name: written[name] for name in names}).decode()


def named_rules(asked: dict[str, str]) -> dict[str, Any]:
    _, found, rule = asked["run"].partition("remember: ")
    return {"new_lessons": [rule.splitlines()[0]] if found else []}


def made(proposer: Proposer | None = None, **changes: Any) -> lmpipe.Recipe:
    settings: dict[str, Any] = {
        "student": lmpipe.ScriptedLM(follows_rules),
        "proposer": (proposer or Proposer()).lm,
        "metric": with_feedback,
        "optimizer": lmpipe.Playbook(batch=4),
    }
    return recipe(**{**settings, **changes})


def compiled(runs: Path, proposer: Proposer | None = None, **changes: Any) -> lmpipe.Run:
    return lmpipe.compile(made(proposer, **changes), runs=runs)


def taught(program: Any, *lessons: Lesson) -> Any:
    return program.bind(program.state().map(lessons=lessons))


def notes_of(run: lmpipe.Run) -> list[dict[str, Any]]:
    lines = (run.path / "events.jsonl").read_bytes().splitlines()
    return [event for event in map(orjson.loads, lines) if event["event"] == "proposal tested"]


def test_what_the_feedback_names_becomes_lessons_and_the_instruction_stays(tmp_path: Path) -> None:
    run = compiled(tmp_path)
    assert run.best.score == 1.0
    learned = run.state["self"]
    assert sorted(texts_of(learned.lessons)) == sorted(RULES.values())
    assert learned.instruction == NameColour.__doc__
    assert run.best.name.endswith("3 lessons")


def test_lessons_say_how_often_they_helped(tmp_path: Path) -> None:
    assert all(lesson.helpful > 0 for lesson in compiled(tmp_path).state["self"].lessons)


def test_the_step_that_the_proposer_names_learns(tmp_path: Path) -> None:
    run = compiled(tmp_path, program=TwoSteps())
    assert run.best.score == 1.0
    assert [len(item.lessons) for item in run.state.predictors.values()] == [0, 3]


def test_a_lesson_that_does_not_help_its_own_run_is_dropped_and_told(tmp_path: Path) -> None:
    proposer = Proposer(lambda asked: {"new_lessons": ["Think well."]})
    run = compiled(tmp_path, proposer)
    assert run.state["self"].lessons == ()
    tried = [asked["tried"] for asked in proposer.asked]
    assert tried[0] == "none"
    assert tried[-1].startswith("lesson: Think well.\nresult: no better: score 0.00")


def test_a_merge_that_is_worse_on_validation_is_rolled_back_and_told(tmp_path: Path) -> None:
    def narrow(request: Request) -> str:
        if "Only these." in instruction_of(request):  # the things of training
            wrong = number_of(request) >= 100
            return reply_to(request, right=not wrong)
        return follows_rules(request)

    start = taught(lmpipe.Predict(NameColour), Lesson(text=RULES["sky"]))
    proposer = Proposer(lambda asked: {"new_lessons": ["Only these."]})
    run = compiled(tmp_path, proposer, student=lmpipe.ScriptedLM(narrow), program=start)
    assert texts_of(run.state["self"].lessons) == (RULES["sky"],)
    assert {note["accepted"] for note in notes_of(run)} == {False}
    assert any("worse and 0 better" in asked["tried"] for asked in proposer.asked)


def test_a_lesson_without_which_runs_get_better_is_dropped(tmp_path: Path) -> None:
    def blame(asked: dict[str, str]) -> dict[str, Any]:
        return {"harmful": [1] if MISLEADING in asked["lessons"] else []}

    rules = [Lesson(text=rule) for rule in RULES.values()]
    start = taught(lmpipe.Predict(NameColour), Lesson(text=MISLEADING), *rules)
    run = compiled(tmp_path, Proposer(blame), program=start)
    assert run.best.score == 1.0
    assert sorted(texts_of(run.state["self"].lessons)) == sorted(RULES.values())


def test_blame_that_no_run_confirms_counts_nothing(tmp_path: Path) -> None:
    start = taught(lmpipe.Predict(NameColour), Lesson(text=RULES["sky"]))
    run = compiled(tmp_path, Proposer(lambda asked: {"harmful": [1]}), program=start)
    assert run.state["self"].lessons == (Lesson(text=RULES["sky"]),)


def test_a_predictor_has_no_more_lessons_than_allowed(tmp_path: Path) -> None:
    run = compiled(tmp_path, optimizer=lmpipe.Playbook(batch=4, lessons=2))
    assert all(len(one.state["self"].lessons) <= 2 for one in run.candidates)
    assert len(run.state["self"].lessons) == 2


def test_it_ends_when_all_training_examples_are_right(tmp_path: Path) -> None:
    proposer = Proposer()
    compiled(tmp_path, proposer, optimizer=lmpipe.Playbook(epochs=50))
    assert len(proposer.asked) < 20


def test_what_did_not_change_is_not_run_again(tmp_path: Path) -> None:
    def calls(epochs: int) -> int:
        student = lmpipe.ScriptedLM(follows_rules)
        proposer = Proposer(lambda asked: {"new_lessons": []})
        run = compiled(
            tmp_path, proposer, student=student, optimizer=lmpipe.Playbook(epochs=epochs)
        )
        return run.account.total.calls - len(proposer.asked)

    assert calls(1) == calls(3)


def test_a_question_shows_the_program_the_run_and_the_lessons(tmp_path: Path) -> None:
    proposer = Proposer()
    start = TwoSteps()
    state = start.state()
    name = state["name"].replace(lessons=(Lesson(text=RULES["sky"]),))
    compiled(tmp_path, proposer, program=start.bind(state.replace(name=name)))
    asked = proposer.asked[0]
    assert str(Describe.__doc__) in asked["program"]
    assert RULES["sky"] not in asked["program"]
    assert asked["lessons"].startswith(f"name:\n1. {RULES['sky']}")
    assert "step describe:\n" in asked["run"]
    assert "feedback: remember: " in asked["run"]


@pytest.mark.parametrize("setting", ["epochs", "batch", "lessons"])
def test_settings_out_of_range_are_refused(setting: str) -> None:
    with pytest.raises(RecipeError, match=rf"Playbook\({setting}=0\)"):
        lmpipe.Playbook(**{setting: 0})


def reworded(asked: dict[str, str]) -> dict[str, Any]:
    (rule,) = named_rules(asked)["new_lessons"]
    number = asked["run"].partition("number ")[2].split('"')[0]
    return {"new_lessons": [rule + ("", " In truth.", " Indeed so.")[int(number) % 3]]}


def embedder() -> lmpipe.ScriptedLM:
    def direction(text: str) -> list[float]:
        return [float(kind in text) for kind in RULES] + [0.1]

    return lmpipe.ScriptedLM(name="embedder", vectors=direction)


def test_with_an_embedder_lessons_that_say_the_same_in_other_words_are_one(tmp_path: Path) -> None:
    one, many = (
        compiled(tmp_path, Proposer(reworded), embedder=chosen) for chosen in (embedder(), None)
    )
    assert len(one.state["self"].lessons) == 3
    assert len(many.state["self"].lessons) > 3


def test_the_plan_counts_the_embeddings_of_lessons(tmp_path: Path) -> None:
    recipes = [made(Proposer(reworded), embedder=chosen) for chosen in (embedder(), None)]
    more, fewer = (prepare(each).plan().total.calls for each in recipes)
    asks = lmpipe.Playbook(batch=4).cost(Sizes(40, 30)).asks
    assert more - fewer == 3 * asks + 40
    run = lmpipe.compile(recipes[0], runs=tmp_path)
    assert 0 < run.account.by_lm["scripted/embedder"].calls <= more - fewer


def test_of_a_start_with_too_many_lessons_as_many_are_embedded_as_may_stay(tmp_path: Path) -> None:
    embedded: list[str] = []

    def direction(text: str) -> list[float]:
        embedded.append(text)
        return [1.0, float(len(text))]

    old = [Lesson(text=f"Old lesson {number}.") for number in range(30)]
    compiled(
        tmp_path,
        program=taught(lmpipe.Predict(NameColour), *old),
        embedder=lmpipe.ScriptedLM(name="embedder", vectors=direction),
        optimizer=lmpipe.Playbook(batch=4, lessons=5),
    )
    assert sum(text.startswith("Old lesson") for text in embedded) == 5
