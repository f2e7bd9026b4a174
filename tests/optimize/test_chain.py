"""Chain: where each stage starts, and what remains of its result."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from helpers.recorder import Recorder
from helpers.scripts import instruction_of, kind_of, reply_to
from helpers.tasks import run_optimizer
from helpers.world import recipe

import lmpipe
from lmpipe.errors import BudgetExhaustedError, RecipeError
from lmpipe.lm.request import Request
from lmpipe.optimize.engine.optimizer import Cost, Sizes
from lmpipe.optimize.engine.task import Task
from lmpipe.state.program_state import ProgramState


@dataclass(frozen=True)
class SetInstruction:
    """A stage that sets the instruction, and records where it started and what it drew.

    Args:
        text: the instruction that it sets.
        name: the stage's name.
        spends_budget: whether the budget ends before it returns.
    """

    text: str
    name: str = "says"
    spends_budget: bool = False
    starts: list[ProgramState] = field(default_factory=list)
    drawn: list[float] = field(default_factory=list)

    async def optimize(self, task: Task) -> ProgramState:
        self.starts.append(task.start)
        self.drawn.append(task.rng("draw").random())
        if self.spends_budget:
            raise BudgetExhaustedError("the budget is used up")
        return task.start.map(instruction=self.text)

    def cost(self, sizes: Sizes) -> Cost:
        return Cost(10, asks=2)

    def settings(self) -> dict[str, Any]:
        return {"text": self.text}


def right_on_named_kinds(request: Request) -> str:
    """Reply right on the kinds of things that the instruction names."""
    return reply_to(request, right=kind_of(request) in instruction_of(request))


def run_chain(*stages: SetInstruction, **options: Any) -> Task:
    chain = lmpipe.Chain(stages=stages)
    return run_optimizer(chain, student=lmpipe.ScriptedLM(right_on_named_kinds), **options)


def compile_chain(runs: Path, *stages: SetInstruction) -> lmpipe.Run:
    chain = lmpipe.Chain(stages=stages)
    student = lmpipe.ScriptedLM(right_on_named_kinds)
    return lmpipe.compile(recipe(student=student, optimizer=chain), runs=runs)


def start_instruction(stage: SetInstruction) -> str:
    (start,) = stage.starts
    return start["self"].instruction


# --- where stages start


def test_the_first_stage_starts_from_the_tasks_start() -> None:
    first = SetInstruction("apple")
    task = run_chain(first)
    assert first.starts == [task.start]


def test_a_stage_starts_from_what_the_previous_one_learned() -> None:
    second = SetInstruction("apple, grass")
    run_chain(SetInstruction("apple"), second)
    assert start_instruction(second) == "apple"


def test_after_a_harmful_stage_the_next_one_starts_from_the_earlier_best() -> None:
    last = SetInstruction("apple, grass, sky")
    run_chain(SetInstruction("apple, grass"), SetInstruction("sky"), last)
    assert start_instruction(last) == "apple, grass"


def test_after_a_harmful_first_stage_the_next_one_starts_from_a_baseline(
    tmp_path: Path,
) -> None:
    def forgetful(request: Request) -> str:
        return reply_to(request, right="Which colour" in instruction_of(request))

    last = SetInstruction("apple, grass, sky")
    chain = lmpipe.Chain(stages=(SetInstruction("sky"), last))
    student = lmpipe.ScriptedLM(forgetful)
    lmpipe.compile(recipe(student=student, optimizer=chain), runs=tmp_path)
    assert start_instruction(last) == "Which colour does the thing have?"


def test_stages_draw_differently_from_random_streams_of_the_same_name() -> None:
    stages = SetInstruction("apple"), SetInstruction("grass")
    run_chain(*stages)
    assert stages[0].drawn != stages[1].drawn


# --- what remains


def test_a_harmful_last_stage_does_not_lose_the_best() -> None:
    task = run_chain(SetInstruction("apple, grass, sky"), SetInstruction("sky"))
    assert task.best.state["self"].instruction == "apple, grass, sky"


def test_if_the_budget_ends_in_a_stage_what_earlier_ones_learned_is_kept(tmp_path: Path) -> None:
    run = compile_chain(
        tmp_path, SetInstruction("apple, grass"), SetInstruction("sky", spends_budget=True)
    )
    assert run.stopped
    assert run.state["self"].instruction == "apple, grass"


def test_the_result_of_a_stage_is_a_candidate_with_its_name() -> None:
    task = run_chain(SetInstruction("apple", name="first"), SetInstruction("grass", name="second"))
    assert [(c.name, c.state["self"].instruction) for c in task.candidates] == [
        ("first", "apple"),
        ("second", "grass"),
    ]


def test_each_stage_is_noted_before_it_runs() -> None:
    recorder = Recorder()
    run_chain(
        SetInstruction("apple", name="first"),
        SetInstruction("sky", name="second"),
        watchers=[recorder],
    )
    assert recorder.notes == [
        ("stage", {"number": 1, "optimizer": "first"}),
        ("stage", {"number": 2, "optimizer": "second"}),
    ]


def test_an_ensemble_may_be_the_last_stage() -> None:
    # Each member is wrong on another kind of thing; the majority is always right.
    votes = lmpipe.Ensemble(
        search=lmpipe.Chain(stages=(SetInstruction("apple, grass"), SetInstruction("grass, sky")))
    )
    chain = lmpipe.Chain(stages=(SetInstruction("apple, sky"), votes))
    task = run_optimizer(chain, student=lmpipe.ScriptedLM(right_on_named_kinds))
    assert (task.best.state.reduce, task.best.score) == ("majority", 1.0)


# --- cost and settings


def test_its_settings_include_those_of_all_nested_stages() -> None:
    inner = lmpipe.Chain(stages=(SetInstruction("inner", name="deep"),))
    chain = lmpipe.Chain(stages=(lmpipe.LabeledFewShot(demos=3), inner))
    assert chain.settings() == {
        "name": "chain",
        "stages": [
            {"name": "labeled", "demos": 3},
            {"name": "chain", "stages": [{"name": "deep", "text": "inner"}]},
        ],
    }


def test_its_cost_is_that_of_its_stages_and_a_validation_after_each() -> None:
    chain = lmpipe.Chain(stages=(SetInstruction("a"), SetInstruction("b")))
    assert chain.cost(Sizes(40, 30)) == Cost(2 * 10 + 2 * 30, asks=4)


def test_a_chain_without_stages_is_refused() -> None:
    with pytest.raises(RecipeError, match="needs one optimizer"):
        lmpipe.Chain(stages=())


def test_an_ensemble_before_another_stage_is_refused() -> None:
    with pytest.raises(RecipeError, match="make it the last stage"):
        lmpipe.Chain(stages=(lmpipe.Ensemble(), lmpipe.LabeledFewShot()))
