"""Agents are compiled by every optimizer, with native calls of tools and with calls as text."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from helpers.agent_replies import PROTOCOLS, scripted
from helpers.agent_world import agent_student, answer_as_agent, colour_agent, look_up
from helpers.optimizers import EVERY, SMALL
from helpers.proposing_lm import proposing_lm
from helpers.world import NameColour, recipe, things

import lmpipe
from lmpipe.errors import RecipeError
from lmpipe.lm.cache.cache import Cache
from lmpipe.lm.request import Reply, Request
from lmpipe.lm.runtime import Runtime

DATA = {
    "train": things(10),
    "val": things(8, seed=1, start=100),
    "test": things(6, seed=2, start=200),
}

CASES = [(name, "text") for name in EVERY] + [(name, "native") for name in SMALL]
every = pytest.mark.parametrize(("name", "protocol"), CASES)


def made(name: str, protocol: str, **changes: object) -> lmpipe.Recipe:
    settings = {
        "program": colour_agent(),
        "student": agent_student(protocol),
        "proposer": proposing_lm(name="proposer"),
        "optimizer": EVERY[name],
        **DATA,
    }
    return recipe(**{**settings, **changes})


@every
def test_an_agent_is_compiled(tmp_path: Path, name: str, protocol: str) -> None:
    run = lmpipe.compile(made(name, protocol), runs=tmp_path)
    rows = [row for one in run.candidates for row in one.evaluation.rows if row is not None]
    assert not [row.failure for row in rows if row.failure]
    loaded = lmpipe.load(run.path, colour_agent())
    with lmpipe.using(lm=agent_student(protocol), runtime=Runtime()):
        assert loaded(thing="apple number 7").colour == "red"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_demonstrations_make_an_agent_better(tmp_path: Path, protocol: str) -> None:
    run = lmpipe.compile(made("bootstrap", protocol), runs=tmp_path)
    declared = next(one for one in run.candidates if one.name == "as declared")
    assert run.best.score > declared.score
    demos = run.state["act"].demos
    assert {demo.outputs["next_tool"] for demo in demos} <= {"look_up", "finish"}
    assert all(demo.source == "bootstrapped" for demo in demos)
    assert demos


def test_a_state_that_was_learned_as_text_serves_native_calls(tmp_path: Path) -> None:
    run = lmpipe.compile(made("bootstrap", "text"), runs=tmp_path)
    scores = []
    for program in (colour_agent(), run.program):
        found = lmpipe.evaluate(
            program,
            DATA["test"],
            lmpipe.metrics.exact_match("colour"),
            lm=agent_student("native"),
        )
        scores.append(found.score)
    assert scores[1] > scores[0]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_concurrency_does_not_change_the_result(tmp_path: Path, protocol: str) -> None:
    files = {
        (
            lmpipe.compile(
                made("random-search", protocol),
                runs=tmp_path / str(concurrency),
                concurrency=concurrency,
            ).path
            / "program.json"
        ).read_bytes()
        for concurrency in (1, 16)
    }
    assert len(files) == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_budget_of_calls_is_never_exceeded(tmp_path: Path, protocol: str) -> None:
    student = agent_student(protocol)
    made_recipe = made("random-search", protocol, student=student, budget=lmpipe.Budget(calls=250))
    lmpipe.compile(made_recipe, runs=tmp_path, concurrency=8)
    assert len(student.requests) <= 250


async def compiled(
    recipe: lmpipe.Recipe, runs: Path, store: Cache, *, concurrency: int = 4
) -> bytes:
    with lmpipe.using(runtime=Runtime(store=store)):
        run = await lmpipe.acompile(recipe, runs=runs, concurrency=concurrency)
    return (run.path / "program.json").read_bytes()


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_stopped_compile_resumes_without_repeated_calls(
    tmp_path: Path, protocol: str
) -> None:
    here = asyncio.get_running_loop()
    reached = 0

    def stalls(request: Request) -> str | Reply:
        nonlocal reached
        reached += 1
        if reached == 60:
            here.call_soon_threadsafe(running.cancel)
        return answer_as_agent(request)

    store = Cache(tmp_path / "cache")
    stopped = made("random-search", protocol, student=scripted(protocol, stalls, name="agent"))
    running = asyncio.ensure_future(compiled(stopped, tmp_path / "runs", store))
    with pytest.raises(asyncio.CancelledError):
        await running
    first = stopped.student.requests  # type: ignore[union-attr]
    resumed = made("random-search", protocol)
    program = await compiled(resumed, tmp_path / "runs", store)
    store.close()
    whole = made("random-search", protocol)
    other = Cache(tmp_path / "other")
    assert program == await compiled(whole, tmp_path / "whole", other)
    other.close()
    both = len(first) + len(resumed.student.requests)  # type: ignore[union-attr]
    assert both <= len(whole.student.requests) + 4  # type: ignore[union-attr]
    assert len(first) >= 60


async def test_a_resumed_compile_repeats_no_run_of_a_pure_tool(tmp_path: Path) -> None:
    here = asyncio.get_running_loop()
    runs: Counter[str] = Counter()

    def counting(thing: str) -> str:
        """Look up the colour of a thing."""
        runs[thing] += 1
        if runs.total() == 10:
            here.call_soon_threadsafe(running.cancel)
        return look_up(thing)

    program = colour_agent(lmpipe.Tool.of(counting, name="look_up", pure="1"))
    store = Cache(tmp_path / "cache")

    def compiling() -> Coroutine[Any, Any, bytes]:
        recipe = made("bootstrap", "text", program=program)
        return compiled(recipe, tmp_path / "runs", store, concurrency=1)

    running = asyncio.ensure_future(compiling())
    with pytest.raises(asyncio.CancelledError):
        await running
    stopped_after = runs.total()
    await compiling()
    store.close()
    assert runs.total() > stopped_after
    assert runs.total() - len(runs) <= 1  # the run that was cancelled


def test_a_tool_with_effects_does_not_run_in_a_compile(tmp_path: Path) -> None:
    tool = lmpipe.Tool.of(look_up, effects=True)
    with pytest.raises(RecipeError, match="with effects, which no compile runs: look_up"):
        lmpipe.compile(made("bootstrap", "text", program=colour_agent(tool)), runs=tmp_path)


def test_the_fake_of_a_tool_with_effects_runs_in_a_compile(tmp_path: Path) -> None:
    def order(thing: str) -> str:
        raise AssertionError("it has effects")

    tool = lmpipe.Tool.of(order, name="look_up", effects=True, fake=look_up)
    run = lmpipe.compile(made("bootstrap", "native", program=colour_agent(tool)), runs=tmp_path)
    assert run.best.score > 0.5


def test_a_metric_knows_the_trajectory() -> None:
    def looked_up(example: lmpipe.Example, prediction: NameColour) -> float:
        return float(lmpipe.trajectory_of(prediction).actions[0].tool == "look_up")

    found = lmpipe.evaluate(colour_agent(), DATA["val"], looked_up, lm=agent_student("text"))
    assert 0 < found.score < 1
    assert not found.failures
