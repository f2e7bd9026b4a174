"""InferRules: what rules are induced from, where they are written, and what races."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from helpers.scripts import ScriptedProposer, answered, instruction_of, kind_of
from helpers.tasks import searched
from helpers.world import TwoSteps, things

import lmpipe
from lmpipe.errors import RecipeError
from lmpipe.lm.request import Request
from lmpipe.optimize.engine.optimizer import Sizes
from lmpipe.optimize.engine.task import Task

DECLARED = "Which colour does the thing have?"
TWO_DECLARED = {"Describe the thing in a few words.", "Which colour does the described thing have?"}
RULE = "Skies are blue."


def obeys(request: Request) -> str:
    """Right on skies where the rule is in the instruction, and on all else."""
    knows = kind_of(request) != "sky" or RULE in instruction_of(request)
    return answered(request, right=knows)


def ruled(
    write: Callable[[dict[str, str]], str | None] = lambda asked: RULE,
    student: Callable[[Request], str] = obeys,
    **changes: Any,
) -> tuple[Task, ScriptedProposer]:
    """A search with InferRules; `changes` are its settings, or parts of the recipe."""
    names = ("candidates", "demos", "threshold")
    settings = {name: changes.pop(name) for name in names if name in changes}
    proposer = ScriptedProposer(write)
    task = searched(
        lmpipe.InferRules(**{"candidates": 2, "demos": 3, **settings}),
        student=lmpipe.ScriptedLM(student),
        proposer=proposer.lm,
        **changes,
    )
    return task, proposer


def iter_of(*texts: str | None) -> Callable[[dict[str, str]], str | None]:
    """A proposer's answers, one after the other."""
    said = iter(texts)
    return lambda asked: next(said)


def told(task: Task, path: str = "self") -> set[str]:
    return {candidate.state[path].instruction for candidate in task.candidates}


# --- what comes of rules


def test_rules_are_written_under_the_instruction() -> None:
    task, _ = ruled()
    assert told(task) == {f"{DECLARED}\n\n{RULE}"}


def test_rules_that_help_win() -> None:
    task, _ = ruled(iter_of("Grass is blue.", RULE))
    assert task.best.score == 1.0


def test_each_predictor_gets_the_rules_that_were_written_for_it() -> None:
    task, _ = ruled(lambda asked: f"({asked['instruction']})", program=TwoSteps(), candidates=1)
    for path, declared in TwoSteps().state().predictors.items():
        assert told(task, path) == {f"{declared.instruction}\n\n({declared.instruction})"}


def test_each_set_of_rules_races_with_demonstrations_and_without() -> None:
    task, _ = ruled(iter_of("First.", "Second."))
    raced = [(c.name, len(c.state["self"].demos)) for c in task.candidates]
    assert raced == [
        ("rules 1", 0),
        ("rules 1, 3 demos", 3),
        ("rules 2", 0),
        ("rules 2, 3 demos", 3),
    ]


def test_a_candidate_whose_rules_cannot_be_read_still_shows_demonstrations() -> None:
    task, _ = ruled(iter_of(None, RULE))
    states = [c.state["self"] for c in task.candidates if c.name.startswith("rules 1")]
    assert [(state.instruction, len(state.demos)) for state in states] == [
        (DECLARED, 0),
        (DECLARED, 3),
    ]


def test_rules_that_cannot_be_read_leave_those_of_other_predictors() -> None:
    def write(asked: dict[str, str]) -> str | None:
        return None if "Describe" in asked["instruction"] else RULE

    task, _ = ruled(write, program=TwoSteps(), candidates=1)
    assert told(task, "describe") == {"Describe the thing in a few words."}
    assert told(task, "name") == {f"Which colour does the described thing have?\n\n{RULE}"}


# --- what they come from


def test_rules_are_asked_for_each_predictor_once_for_each_candidate() -> None:
    _, proposer = ruled(program=TwoSteps(), candidates=3)
    asked = [asked["instruction"] for asked in proposer.asked]
    assert sorted(asked) == sorted([*TWO_DECLARED] * 3)


def test_a_question_shows_half_of_the_examples() -> None:
    _, proposer = ruled(train=things(6), candidates=4)
    assert {len(asked["examples"].splitlines()) for asked in proposer.asked} == {3}


def test_each_question_shows_another_half() -> None:
    _, proposer = ruled(candidates=4)
    halves = {frozenset(asked["examples"].splitlines()) for asked in proposer.asked}
    assert len(halves) == 4


def test_outputs_that_no_data_have_are_shown_from_runs_that_passed() -> None:
    _, proposer = ruled(program=TwoSteps())
    described = [asked for asked in proposer.asked if "Describe" in asked["instruction"]]
    assert all('"words":"a thing of some colour"' in asked["examples"] for asked in described)


def test_runs_that_failed_are_shown() -> None:
    def metric(example: lmpipe.Example, prediction: Any) -> lmpipe.Score:
        right = example.colour == prediction.colour
        return lmpipe.Score(float(right), feedback="" if right else "no such sky")

    _, proposer = ruled(metric=metric)
    assert all("feedback: no such sky" in asked["failed"] for asked in proposer.asked)


def test_runs_that_did_well_are_not_shown_as_failed() -> None:
    _, proposer = ruled(student=lambda request: answered(request, right=True))
    assert {asked["failed"] for asked in proposer.asked} == {"none"}


def test_without_labels_and_passed_runs_it_has_no_examples_to_show() -> None:
    train = [lmpipe.Example(thing=row.thing).with_inputs("thing") for row in things(20)]
    _, proposer = ruled(train=train, metric=lambda example, prediction: 0.0)
    assert {asked["examples"] for asked in proposer.asked} == {"none"}


# --- what it costs


@pytest.mark.parametrize("train", [3, 40])
def test_it_runs_the_program_no_more_often_than_it_says(train: int) -> None:
    runs = []

    def wrong(request: Request) -> str:
        # No run passes, so that the search for those that do goes through all examples.
        runs.append(request)
        return answered(request, right=False)

    task, _ = ruled(iter_of("First.", "Second."), wrong, train=things(train))
    cost = lmpipe.InferRules(candidates=2, demos=3).cost(Sizes(train, len(task.val)))
    assert train + 4 * len(task.val) < len(runs) <= cost.runs


def test_it_asks_no_more_questions_than_it_says() -> None:
    _, proposer = ruled(program=TwoSteps(), candidates=3)
    assert len(proposer.asked) == lmpipe.InferRules(candidates=3).cost(Sizes(40, 30, 2)).asks


@pytest.mark.parametrize("settings", [{"candidates": 0}, {"demos": 0}])
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        lmpipe.InferRules(**settings)
