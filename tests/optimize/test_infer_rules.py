"""InferRules: what rules are inferred from, where they are written, and what races."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from helpers.scripts import ScriptedProposer, instruction_of, kind_in, kind_of, reply_to
from helpers.tasks import make_task, run_optimizer
from helpers.world import COLOURS, TwoSteps, things

import lmpipe
from lmpipe.errors import RecipeError
from lmpipe.lm.concurrency.loop import run_sync
from lmpipe.lm.request import Request
from lmpipe.optimize.engine.optimizer import Sizes
from lmpipe.optimize.engine.task import Task

DECLARED = "Which colour does the thing have?"
TWO_DECLARED = {"Describe the thing in a few words.", "Which colour does the described thing have?"}
RULE = "Skies are blue."


def needs_rule(request: Request) -> str:
    """Reply right on all things but skies, and on skies if the rule is in the instruction."""
    knows = kind_of(request) != "sky" or RULE in instruction_of(request)
    return reply_to(request, right=knows)


def search(
    write: Callable[[dict[str, str]], str | None] = lambda asked: RULE,
    student: Callable[[Request], str] = needs_rule,
    **changes: Any,
) -> tuple[Task, ScriptedProposer]:
    """Search with InferRules; `changes` are its settings or parts of the recipe."""
    names = ("candidates", "proposal_rounds", "rules", "demos", "threshold")
    settings = {name: changes.pop(name) for name in names if name in changes}
    proposer = ScriptedProposer(write)
    task = run_optimizer(
        lmpipe.InferRules(**{"candidates": 2, "proposal_rounds": 1, "demos": 3, **settings}),
        student=lmpipe.ScriptedLM(student),
        proposer=proposer.lm,
        **changes,
    )
    return task, proposer


def in_turn(*texts: str | None) -> Callable[[dict[str, str]], str | None]:
    """Make a proposer that gives these answers in turn."""
    answers = iter(texts)
    return lambda asked: next(answers)


def instructions_of(task: Task, path: str = "self") -> set[str]:
    return {candidate.state[path].instruction for candidate in task.candidates}


# --- what rules become


def test_rules_are_written_under_the_instruction() -> None:
    task, _ = search()
    assert instructions_of(task) == {f"{DECLARED}\n\n{RULE}"}


def test_rules_that_help_win() -> None:
    task, _ = search(in_turn("Grass is blue.", RULE))
    assert task.best.score == 1.0


def test_each_predictor_gets_its_own_rules() -> None:
    task, _ = search(lambda asked: f"({asked['instruction']})", program=TwoSteps(), candidates=1)
    for path, declared in TwoSteps().state().predictors.items():
        assert instructions_of(task, path) == {
            f"{declared.instruction}\n\n({declared.instruction})"
        }


def test_each_set_of_rules_races_with_and_without_demonstrations() -> None:
    task, _ = search(in_turn("First.", "Second."))
    raced = [(c.name, len(c.state["self"].demos)) for c in task.candidates]
    assert raced == [
        ("rules 1", 0),
        ("rules 1, 3 demos", 3),
        ("rules 2", 0),
        ("rules 2, 3 demos", 3),
    ]


def test_a_candidate_with_unparseable_rules_still_shows_demonstrations() -> None:
    task, _ = search(in_turn(None, RULE))
    unruled = [c for c in task.candidates if c.state["self"].instruction == DECLARED]
    assert [(c.name, len(c.state["self"].demos)) for c in unruled] == [("no new rules, 3 demos", 3)]


def test_unparseable_rules_do_not_affect_other_predictors() -> None:
    def write(asked: dict[str, str]) -> str | None:
        return None if "Describe" in asked["instruction"] else RULE

    task, _ = search(write, program=TwoSteps(), candidates=1)
    assert instructions_of(task, "describe") == {"Describe the thing in a few words."}
    assert instructions_of(task, "name") == {
        f"Which colour does the described thing have?\n\n{RULE}"
    }


# --- what rules are inferred from


def test_rules_are_asked_for_once_per_predictor_and_candidate() -> None:
    _, proposer = search(program=TwoSteps(), candidates=3)
    asked = [asked["instruction"] for asked in proposer.asked]
    assert sorted(asked) == sorted([*TWO_DECLARED] * 3)


def test_a_question_shows_half_of_the_examples() -> None:
    _, proposer = search(train=things(6), candidates=4)
    assert {len(asked["examples"].splitlines()) for asked in proposer.asked} == {3}


def test_each_question_shows_another_half() -> None:
    _, proposer = search(candidates=4)
    halves = {frozenset(asked["examples"].splitlines()) for asked in proposer.asked}
    assert len(halves) == 4


def test_outputs_that_the_data_lack_are_shown_from_passed_runs() -> None:
    _, proposer = search(program=TwoSteps())
    described = [asked for asked in proposer.asked if "Describe" in asked["instruction"]]
    assert all('"words":"a thing of some colour"' in asked["examples"] for asked in described)


def test_runs_that_failed_are_shown() -> None:
    def metric(example: lmpipe.Example, prediction: Any) -> lmpipe.Score:
        right = example.colour == prediction.colour
        return lmpipe.Score(float(right), feedback="" if right else "no such sky")

    _, proposer = search(metric=metric)
    assert all("feedback: no such sky" in asked["failed"] for asked in proposer.asked)


def test_successful_runs_are_not_shown_as_failed() -> None:
    _, proposer = search(student=lambda request: reply_to(request, right=True))
    assert {asked["failed"] for asked in proposer.asked} == {"none"}


def test_without_labels_and_passed_runs_no_examples_are_shown() -> None:
    train = [lmpipe.Example(thing=row.thing).with_inputs("thing") for row in things(20)]
    _, proposer = search(train=train, metric=lambda example, prediction: 0.0)
    assert {asked["examples"] for asked in proposer.asked} == {"none"}


def test_as_many_rules_are_asked_for_as_set() -> None:
    _, proposer = search(rules=4)
    assert {asked["most"] for asked in proposer.asked} == {4}


# --- rounds


def test_later_rounds_add_rules_to_the_best_so_far() -> None:
    def student(request: Request) -> str:
        told = instruction_of(request)
        return reply_to(request, right=f"{kind_of(request)} has a colour" in told)

    def write(asked: dict[str, str]) -> str:
        return f"{kind_in(asked['failed'])} has a colour"

    task, _ = search(write, student, candidates=3, proposal_rounds=3)
    assert task.best.score == 1.0
    added = task.best.state["self"].instruction.removeprefix(DECLARED).split("\n")
    assert sorted(filter(None, added)) == sorted(f"{kind} has a colour" for kind in COLOURS)


def test_objectives_decide_which_rules_the_next_round_adds_to() -> None:
    long = "Skies are blue, " + "and so it goes, " * 200

    def student(request: Request) -> str:
        told = instruction_of(request)
        return reply_to(request, right=kind_of(request) != "sky" or "Skies" in told)

    task = make_task(
        student=lmpipe.ScriptedLM(student),
        proposer=ScriptedProposer(in_turn(long, "Think.")).lm,
        objectives={"tokens": -1.0},
    )
    run_sync(task.evaluate(task.start, name="as declared"))
    run_sync(lmpipe.InferRules(candidates=2, proposal_rounds=2, demos=3).optimize(task))
    last = next(one for one in task.candidates if one.name == "rules 2")
    assert last.state["self"].instruction == f"{DECLARED}\n\nThink."


def test_a_rule_is_not_added_twice() -> None:
    task, _ = search(candidates=2, proposal_rounds=2)
    assert instructions_of(task) == {f"{DECLARED}\n\n{RULE}"}


# --- cost and settings


@pytest.mark.parametrize("train", [3, 40])
def test_its_cost_bounds_the_runs_of_the_program(train: int) -> None:
    runs = []

    def wrong(request: Request) -> str:
        # No run passes, so the search for passed runs tries all examples.
        runs.append(request)
        return reply_to(request, right=False)

    task, _ = search(in_turn("First.", "Second."), wrong, train=things(train))
    cost = lmpipe.InferRules(candidates=2, demos=3).cost(Sizes(train, len(task.val)))
    assert train + 4 * len(task.val) < len(runs) <= cost.runs


def test_its_cost_states_the_questions_to_the_proposer() -> None:
    _, proposer = search(program=TwoSteps(), candidates=3)
    assert len(proposer.asked) == lmpipe.InferRules(candidates=3).cost(Sizes(40, 30, 2)).asks


@pytest.mark.parametrize(
    "settings", [{"candidates": 0}, {"proposal_rounds": 0}, {"rules": 0}, {"demos": 0}]
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        lmpipe.InferRules(**settings)


def test_rules_that_cost_more_than_they_gain_are_not_built_on() -> None:
    dear = f"{RULE} {'Other things have other colours. ' * 20}"
    task = make_task(
        student=lmpipe.ScriptedLM(needs_rule),
        proposer=ScriptedProposer(in_turn(dear, "Look well.")).lm,
        objectives={"tokens": -5.0},
        val=things(12, start=100),
    )
    run_sync(task.evaluate(task.start, name="as declared"))
    run_sync(lmpipe.InferRules(candidates=2, proposal_rounds=2, demos=3).optimize(task))
    declared, costly, second = (
        next(one for one in task.candidates if text in one.state["self"].instruction)
        for text in (DECLARED, RULE, "Look well.")
    )
    assert costly.score > declared.score
    assert RULE not in second.state["self"].instruction
