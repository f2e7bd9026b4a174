"""Trajectories that do not fit the context of an LM are made shorter, which the text says."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from helpers.agent_replies import PROTOCOLS, Step, agent_lm, results_in, scripted, step_in
from hypothesis import given
from hypothesis import strategies as st

import lmpipe
from lmpipe.errors import ConfigError, LMRequestError
from lmpipe.lm.request import Reply, Request
from lmpipe.lm.runtime import Runtime
from lmpipe.modules.agents.compaction import estimate_tokens, shorten_observations
from lmpipe.settings import using

both = pytest.mark.parametrize("protocol", PROTOCOLS)


def steps(*observations: str) -> lmpipe.Trajectory:
    return lmpipe.Trajectory(
        steps=tuple(
            lmpipe.AgentStep(
                thought=f"thought {number}",
                actions=(lmpipe.Action(tool="read", arguments={"n": number}, observation=text),),
            )
            for number, text in enumerate(observations)
        )
    )


def observed(trajectory: lmpipe.Trajectory) -> list[str]:
    return [action.text for action in trajectory.actions]


LONG = "word " * 400


def test_the_oldest_observations_are_shortened_first() -> None:
    whole = steps(LONG, LONG, LONG)
    shorter = shorten_observations(whole, estimate_tokens(whole) - 100)
    assert "left out to save room" in observed(shorter)[0]
    assert observed(shorter)[1:] == [LONG, LONG]


def test_what_fits_stays_as_it_is() -> None:
    whole = steps(LONG, "short")
    assert shorten_observations(whole, estimate_tokens(whole)) == whole


def test_thoughts_and_calls_stay_with_shortened_observations() -> None:
    shorter = shorten_observations(steps(LONG, LONG), 800)
    assert [step.thought for step in shorter] == ["thought 0", "thought 1"]
    assert [action.arguments for action in shorter.actions] == [{"n": 0}, {"n": 1}]


def test_then_the_oldest_steps_are_left_out() -> None:
    shorter = shorten_observations(steps(*[LONG] * 20), 900)
    assert shorter.left_out == 20 - len(shorter)
    assert shorter.note == f"({shorter.left_out} earlier steps are left out.)"
    assert observed(shorter)[-1] == LONG


def test_of_the_last_step_the_observation_is_shortened() -> None:
    shorter = shorten_observations(steps(LONG), 200)
    assert len(shorter) == 1
    assert observed(shorter)[0].startswith("word word")
    assert "characters left out to save room" in observed(shorter)[0]


def test_media_are_left_out() -> None:
    image = lmpipe.Image(data=b"\x89PNG\r\n\x1a\n" + bytes(9), media_type="image/png")
    action = lmpipe.Action(tool="see", observation=("A photo:", image))
    whole = lmpipe.Trajectory(steps=(lmpipe.AgentStep(actions=(action,)), *steps("x")))
    assert observed(shorten_observations(whole, 100))[0].startswith("A photo:")
    assert "1 medium left out" in observed(shorten_observations(whole, 100))[0]


@given(st.lists(st.text(max_size=3000), min_size=1, max_size=8), st.integers(150, 3000))
def test_what_is_shortened_fits(texts: list[str], tokens: int) -> None:
    whole = steps(*texts)
    shorter = shorten_observations(whole, tokens)
    assert estimate_tokens(shorter) <= max(tokens, 150)
    assert len(shorter) + shorter.left_out == len(whole)


class Ask(lmpipe.Signature):
    """Answer."""

    question: str = lmpipe.Input()
    answer: str = lmpipe.Output()


def read(n: int) -> str:
    """Read a page."""
    return f"page {n}: " + LONG


READ: Step = ("Read.", ("read", {"n": 1}))
READS: list[Step] = [("Read.", ("read", {"n": n})) for n in range(1, 7)]
FINISH: Step = ("Done.", ("finish", {"answer": "x"}))


def run(agent: Any, lm: lmpipe.LM) -> Any:
    with using(lm=lm, runtime=Runtime()):
        return agent(question="?")


@both
def test_the_steps_fit_the_context(protocol: str) -> None:
    lm = agent_lm(protocol, *READS, FINISH, context=2500)
    result = run(lmpipe.ReAct(Ask, [read]), lm)
    shown = results_in(lm.requests[-1])
    assert "left out to save room" in shown[0]
    assert shown[-1] == read(6)
    # The whole trajectory is the result's.
    assert observed(lmpipe.trajectory_of(result))[:6] == [read(n) for n in range(1, 7)]


@both
def test_steps_that_are_left_out_are_mentioned(protocol: str) -> None:
    lm = agent_lm(protocol, *[READ] * 9, FINISH, context=1700)
    run(lmpipe.ReAct(Ask, [read]), lm)
    assert any("left out.)" in turn.text for turn in lm.requests[-1].messages)


def test_a_hook_makes_them_fit() -> None:
    rooms: list[int] = []

    def keep_last(trajectory: lmpipe.Trajectory, tokens: int) -> lmpipe.Trajectory:
        rooms.append(tokens)
        return lmpipe.Trajectory(steps=trajectory.steps[-1:], left_out=len(trajectory) - 1)

    lm = agent_lm("text", *[READ] * 3, FINISH, context=2000)
    run(lmpipe.ReAct(Ask, [read], compact=keep_last), lm)
    assert len(results_in(lm.requests[-1])) == 1
    assert all(0 < room < 2000 for room in rooms)


def test_the_hook_may_be_async() -> None:
    async def keep_none(trajectory: lmpipe.Trajectory, tokens: int) -> lmpipe.Trajectory:
        await asyncio.sleep(0)
        return lmpipe.Trajectory(left_out=len(trajectory))

    lm = agent_lm("text", *[READ] * 3, FINISH, context=2000)
    run(lmpipe.ReAct(Ask, [read], compact=keep_none), lm)
    assert results_in(lm.requests[-1]) == []


class Summarize(lmpipe.Signature):
    """Summarize the steps."""

    trajectory: lmpipe.Trajectory = lmpipe.Input()
    summary: str = lmpipe.Output()


class Summary(lmpipe.Module):
    def __init__(self) -> None:
        self.summarize = lmpipe.Predict(Summarize, retries=0)

    def forward(self, trajectory: lmpipe.Trajectory, tokens: int) -> lmpipe.Trajectory:
        summary = self.summarize(trajectory=trajectory).summary
        return lmpipe.Trajectory(
            steps=(lmpipe.AgentStep(thought=summary, actions=trajectory.steps[-1].actions),),
            left_out=trajectory.left_out + len(trajectory) - 1,
        )


def test_the_hook_may_be_a_module_that_asks_an_lm() -> None:
    def answer(request: Request) -> str | Reply:
        if "Summarize" in request.messages[0].text:
            return "[[summary]]\nseen so far"
        return step_in("text", *(FINISH if len(results_in(request)) > 0 else READ))

    agent = lmpipe.ReAct(Ask, [read], compact=Summary(), max_steps=3, retries=0)
    lm = scripted("text", answer, context=1200)
    run(agent, lm)
    assert "seen so far" in lm.requests[-1].messages[2].text
    assert list(agent.predictors()) == ["compact.summarize", "act", "extract"]
    # Each step and the extraction may ask for a summary.
    assert agent.calls_per_run() == 3 + 1 + (3 + 1)


def test_a_hook_that_gives_anything_else_is_refused() -> None:
    lm = agent_lm("text", *[READ] * 3, FINISH, context=1000)
    agent = lmpipe.ReAct(Ask, [read], compact=lambda trajectory, tokens: None)  # type: ignore[arg-type, return-value]
    with pytest.raises(ConfigError, match="compact returned None: return a Trajectory"):
        run(agent, lm)


def refusing(protocol: str, most: int) -> lmpipe.ScriptedLM:
    """An LM whose server takes fewer characters than its context says."""

    def answer(request: Request) -> str | Reply:
        if sum(len(turn.text) for turn in request.messages) > most:
            raise LMRequestError("This model's maximum context length is 9 tokens", status=400)
        done = any("left out" in turn.text for turn in request.messages)
        return step_in(protocol, *(FINISH if done else READ))

    return scripted(protocol, answer)


@both
def test_steps_that_a_server_finds_too_long_are_shortened(protocol: str) -> None:
    result = run(lmpipe.ReAct(Ask, [read]), refusing(protocol, 4200))
    assert result.answer == "x"


@both
def test_inputs_that_a_server_finds_too_long_are_an_error(protocol: str) -> None:
    with pytest.raises(LMRequestError, match="maximum context length"):
        run(lmpipe.ReAct(Ask, [read]), refusing(protocol, 10))
