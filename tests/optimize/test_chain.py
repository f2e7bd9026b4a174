"""Chain: where each stage starts, and what is left of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from helpers.recorder import Recorder
from helpers.scripts import answered, instruction_of, kind_of
from helpers.tasks import searched
from helpers.world import recipe

import lmpipe
from lmpipe.errors import BudgetExhaustedError, RecipeError
from lmpipe.lm.request import Request
from lmpipe.optimize.engine.optimizer import Cost, Sizes
from lmpipe.optimize.engine.task import Task
from lmpipe.state.program_state import ProgramState


@dataclass(frozen=True)
class Says:
    """A stage that replaces the instruction, and keeps what it started from and drew.

    Args:
        text: the instruction that it returns.
        name: of the stage.
        fails: whether the budget is spent before it returns.
    """

    text: str
    name: str = "says"
    fails: bool = False
    starts: list[ProgramState] = field(default_factory=list)
    drawn: list[float] = field(default_factory=list)

    async def optimize(self, task: Task) -> ProgramState:
        self.starts.append(task.start)
        self.drawn.append(task.rng("draw").random())
        if self.fails:
            raise BudgetExhaustedError("the budget is used up")
        return task.start.map(instruction=self.text)

    def cost(self, sizes: Sizes) -> Cost:
        return Cost(10, asks=2)

    def settings(self) -> dict[str, Any]:
        return {"text": self.text}


def literal(request: Request) -> str:
    """Right on the things that the instruction names."""
    return answered(request, right=kind_of(request) in instruction_of(request))


def chained(*stages: Says, **options: Any) -> Task:
    chain = lmpipe.Chain(stages=stages)
    return searched(chain, student=lmpipe.ScriptedLM(literal), **options)


def compiled(runs: Path, *stages: Says) -> lmpipe.Run:
    chain = lmpipe.Chain(stages=stages)
    student = lmpipe.ScriptedLM(literal)
    return lmpipe.compile(recipe(student=student, optimizer=chain), runs=runs)


def started(stage: Says) -> str:
    (start,) = stage.starts
    return start["self"].instruction


# --- where stages start


def test_the_first_stage_starts_from_where_the_chain_does() -> None:
    first = Says("apple")
    task = chained(first)
    assert first.starts == [task.start]


def test_a_stage_starts_from_what_the_one_before_has_learned() -> None:
    second = Says("apple, grass")
    chained(Says("apple"), second)
    assert started(second) == "apple"


def test_after_a_stage_that_made_it_worse_the_next_one_starts_from_the_earlier_best() -> None:
    last = Says("apple, grass, sky")
    chained(Says("apple, grass"), Says("sky"), last)
    assert started(last) == "apple, grass"


def test_after_a_first_stage_that_made_it_worse_the_next_one_starts_from_a_baseline(
    tmp_path: Path,
) -> None:
    def forgetful(request: Request) -> str:
        return answered(request, right="Which colour" in instruction_of(request))

    last = Says("apple, grass, sky")
    chain = lmpipe.Chain(stages=(Says("sky"), last))
    student = lmpipe.ScriptedLM(forgetful)
    lmpipe.compile(recipe(student=student, optimizer=chain), runs=tmp_path)
    assert started(last) == "Which colour does the thing have?"


def test_stages_that_ask_for_the_same_random_stream_draw_differently() -> None:
    stages = Says("apple"), Says("grass")
    chained(*stages)
    assert stages[0].drawn != stages[1].drawn


# --- what is left


def test_a_last_stage_that_makes_it_worse_does_not_lose_the_best() -> None:
    task = chained(Says("apple, grass, sky"), Says("sky"))
    assert task.best.state["self"].instruction == "apple, grass, sky"


def test_a_budget_that_ends_in_a_stage_leaves_what_the_earlier_ones_learned(tmp_path: Path) -> None:
    run = compiled(tmp_path, Says("apple, grass"), Says("sky", fails=True))
    assert run.stopped
    assert run.state["self"].instruction == "apple, grass"


def test_what_a_stage_returns_is_a_candidate_of_its_name() -> None:
    task = chained(Says("apple", name="first"), Says("grass", name="second"))
    assert [(c.name, c.state["self"].instruction) for c in task.candidates] == [
        ("first", "apple"),
        ("second", "grass"),
    ]


def test_each_stage_is_told_before_it_runs() -> None:
    recorder = Recorder()
    chained(Says("apple", name="first"), Says("sky", name="second"), watchers=[recorder])
    assert recorder.notes == [
        ("stage", {"number": 1, "optimizer": "first"}),
        ("stage", {"number": 2, "optimizer": "second"}),
    ]


def test_an_ensemble_may_be_the_last_stage() -> None:
    # Each member is wrong on another kind; together they are right on all.
    votes = lmpipe.Ensemble(search=lmpipe.Chain(stages=(Says("apple, grass"), Says("grass, sky"))))
    chain = lmpipe.Chain(stages=(Says("apple, sky"), votes))
    task = searched(chain, student=lmpipe.ScriptedLM(literal))
    assert (task.best.state.reduce, task.best.score) == ("majority", 1.0)


# --- what it says of itself


def test_its_settings_hold_those_of_its_stages_and_of_theirs() -> None:
    inner = lmpipe.Chain(stages=(Says("inner", name="deep"),))
    chain = lmpipe.Chain(stages=(lmpipe.LabeledFewShot(demos=3), inner))
    assert chain.settings() == {
        "name": "chain",
        "stages": [
            {"name": "labeled", "demos": 3},
            {"name": "chain", "stages": [{"name": "deep", "text": "inner"}]},
        ],
    }


def test_it_costs_what_its_stages_cost_and_a_validation_after_each() -> None:
    chain = lmpipe.Chain(stages=(Says("a"), Says("b")))
    assert chain.cost(Sizes(40, 30)) == Cost(2 * 10 + 2 * 30, asks=4)


def test_a_chain_without_stages_is_refused() -> None:
    with pytest.raises(RecipeError, match="needs one optimizer"):
        lmpipe.Chain(stages=())


def test_an_ensemble_before_another_stage_is_refused() -> None:
    with pytest.raises(RecipeError, match="make it the last stage"):
        lmpipe.Chain(stages=(lmpipe.Ensemble(), lmpipe.LabeledFewShot()))
