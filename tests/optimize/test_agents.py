"""Agents are compiled by every optimizer, with native calls of tools and with calls as text."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.agent_world import agent_student, colour_agent
from helpers.agents import PROTOCOLS
from helpers.optimizers import EVERY, SMALL
from helpers.proposing_lm import proposing_lm
from helpers.world import recipe, things

import lmpipe
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
