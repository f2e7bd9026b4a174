"""What is learned with an LM that thinks by itself serves one that does not."""

from __future__ import annotations

import pytest
from helpers.world import NameColour, answer, recipe, things

import lmpipe
from lmpipe.lm.request import Reply, Request

THINKING = {"reasoning_effort": "high"}


def thinking(request: Request) -> Reply:
    """Answer with thoughts beside the answer."""
    return Reply(answer(request), reasoning="I looked at the thing.")


def writing(request: Request) -> str:
    """Answer with a written reasoning."""
    return '{"reasoning": "I see it.", "colour": "green"}'


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> lmpipe.Run:
    made = recipe(
        program=lmpipe.ChainOfThought(NameColour),
        train=things(12),
        val=things(8, seed=1, start=100),
        test=things(10, seed=2, start=200),
        optimizer=lmpipe.BootstrapFewShot(bootstrapped=2, labeled=2),
        student=lmpipe.ScriptedLM(thinking, **THINKING),
    )
    return lmpipe.compile(made, runs=tmp_path_factory.mktemp("runs"))


def shown_to(run: lmpipe.Run, lm: lmpipe.ScriptedLM) -> str:
    """All turns of a call of the loaded program."""
    program = lmpipe.load(run.path, lmpipe.ChainOfThought(NameColour))
    with lmpipe.using(lm=lm):
        program(thing="grass number 3")  # type: ignore[call-overload]
    return "\n".join(message.text for message in lm.requests[-1].messages)


def test_bootstrapped_demonstrations_have_the_thoughts(run: lmpipe.Run) -> None:
    (state,) = run.state.predictors.values()
    bootstrapped = [demo for demo in state.demos if demo.source == "bootstrapped"]
    assert {demo.outputs["reasoning"] for demo in bootstrapped} == {"I looked at the thing."}


@pytest.mark.parametrize(("native", "shown"), [(True, False), (False, True)])
def test_they_are_shown_to_an_lm_that_writes_its_reasoning(
    run: lmpipe.Run, native: bool, shown: bool
) -> None:
    lm = lmpipe.ScriptedLM(thinking, **THINKING) if native else lmpipe.ScriptedLM(writing)
    assert ("I looked at the thing." in shown_to(run, lm)) is shown
