"""The agent finds facts with its tools, and calculates with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.world_reader import call_tools, proof_of, read_world

import lmpipe
from programs import agent
from programs.world_data import years_between

SMALL = {"train_size": 8, "val_size": 6, "test_size": 8, "racing": None, "train_check": 0}


@pytest.mark.parametrize(
    ("recipe", "script"), [(agent.recipe, read_world), (agent.native, call_tools)]
)
def test_a_compile_makes_an_agent_that_solves_every_task(
    recipe: lmpipe.Recipe, script: Any, tmp_path: Path
) -> None:
    lm = lmpipe.ScriptedLM(script, context=16_384)
    run = lmpipe.compile(recipe.replace(student=lm, **SMALL), runs=tmp_path)
    assert run.test is not None
    assert run.test.evaluations[run.test.baseline].score < 1
    assert run.test.evaluations["compiled"].score == 1


def test_the_agent_looks_up_every_fact_before_it_calculates() -> None:
    lm = lmpipe.ScriptedLM(read_world)
    for example in years_between("val").read():
        with lmpipe.using(lm=lm):
            result = agent.agent("text")(question=example.question)
        steps = lmpipe.trajectory_of(result).steps
        calls = [action for step in steps for action in step.actions]
        if len(calls) > 1:  # it did not give up
            titles = [call.arguments["title"] for call in calls if call.tool == "lookup"]
            assert set(titles) == {fact.subject for fact in proof_of(example.question)}
            assert [call.tool for call in calls][-2:] == ["calculator", "finish"]


@pytest.mark.parametrize(
    ("expression", "value"), [("1868 - 1807", 61), ("(3 + 4) * 2", 14), ("-7 / 2", -3.5)]
)
def test_the_calculator_calculates(expression: str, value: float) -> None:
    assert agent.calculator(expression) == value


@pytest.mark.parametrize(
    "expression",
    ["2 ** 9", "abs(1)", "__import__('os')", "1 +", "'a' * 3", "True + 1", "1" * 201, "[1, 2]"],
)
def test_the_calculator_takes_nothing_but_numbers_and_their_signs(expression: str) -> None:
    with pytest.raises(ValueError, match="use"):
        agent.calculator(expression)


def test_an_unknown_title_is_told_the_nearest_ones() -> None:
    with pytest.raises(LookupError, match="the nearest are"):
        agent.lookup("The Tide")
