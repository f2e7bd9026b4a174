"""Instructions that changed since a compile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.world import NameColour, TwoSteps, recipe

import lmpipe
from lmpipe.compiling.declared_instructions import changed_instructions
from lmpipe.compiling.run_folder import Artifact, read_artifact
from lmpipe.state.program_state import ProgramState


def artifact(learned: ProgramState, instructions: dict[str, str]) -> Artifact:
    """Make the artifact of a compile of a program that declared these instructions."""
    manifest: dict[str, Any] = {"program": {"instructions": instructions}}
    return Artifact(Path("runs/one"), manifest, learned)


def declaring(instruction: str) -> lmpipe.Module:
    return lmpipe.Predict(NameColour, instruction=instruction)


def test_the_first_difference_is_shown_with_its_predictor() -> None:
    old = declaring("Name the colour of the thing.")
    made = artifact(old.state(), {"self": "Name the colour of the thing."})
    told = changed_instructions(declaring("Name the colour of this thing."), made)
    assert "self: 'the' is 'this' now" in told
    assert "runs/one" in told


def test_the_remedy_that_is_told_gives_the_declared_instruction() -> None:
    old = declaring("as it was")
    made = artifact(old.state(), {"self": "as it was"})
    remedy = "program.bind(state.update({'self': state['self'].replace(instruction=…)}))"
    assert remedy in changed_instructions(declaring("as it is now"), made)
    state = old.state()
    bound = old.bind(state.update({"self": state["self"].replace(instruction="as it is now")}))
    assert bound.state()["self"].instruction == "as it is now"


@pytest.mark.parametrize("now", ["as it was", "as it was learned"])
def test_an_instruction_as_it_was_or_as_it_was_learned_is_not_told(now: str) -> None:
    learned = declaring("as it was learned").state()
    made = artifact(learned, {"self": "as it was"})
    assert changed_instructions(declaring(now), made) == ""


def test_runs_that_do_not_tell_their_instructions_are_not_judged() -> None:
    made = artifact(declaring("old").state(), {})
    assert changed_instructions(declaring("new"), made) == ""


def test_every_predictor_of_a_run_has_its_instruction(tmp_path: Path) -> None:
    made = recipe(program=TwoSteps(), optimizer=lmpipe.LabeledFewShot(demos=1))
    run = lmpipe.compile(made, runs=tmp_path)
    instructions = read_artifact(run.path).manifest["program"]["instructions"]
    assert list(instructions) == ["describe", "name"]
