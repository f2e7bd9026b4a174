"""Agents are compiled by every optimizer, with native calls of tools and with calls as text."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from helpers.agent_replies import PROTOCOLS, scripted
from helpers.agent_world import agent_student, answer_as_agent, colour_agent
from helpers.optimizers import EVERY, SMALL
from helpers.proposing_lm import proposing_lm
from helpers.world import recipe, things

import lmpipe
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


async def compiled(recipe: lmpipe.Recipe, runs: Path, store: Cache) -> bytes:
    with lmpipe.using(runtime=Runtime(store=store)):
        run = await lmpipe.acompile(recipe, runs=runs, concurrency=4)
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
    stopped = made("random-search", protocol, student=scripted(protocol, stalls))
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
