"""Modules that write code are compiled: their sandboxes run in the compile, in its budget."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from helpers.code_world import answer, programs, student
from helpers.optimizers import EVERY
from helpers.proposing_lm import proposing_lm
from helpers.sandboxes import needs_monty
from helpers.world import recipe, things

import lmpipe
from lmpipe.lm.cache.cache import Cache
from lmpipe.lm.request import Request
from lmpipe.lm.runtime import Runtime

pytestmark = needs_monty

DATA = {
    "train": things(10),
    "val": things(8, seed=1, start=100),
    "test": things(6, seed=2, start=200),
}
MODULES = ["program", "act", "recursive"]
each = pytest.mark.parametrize("module", MODULES)


def made(module: str, optimizer: str, **changes: object) -> lmpipe.Recipe:
    settings = {
        "program": programs()[module],
        "student": student(module),
        "proposer": proposing_lm(name="proposer"),
        "optimizer": EVERY[optimizer],
        **DATA,
    }
    return recipe(**{**settings, **changes})


@pytest.mark.parametrize(
    ("module", "optimizer"), [("program", "mipro"), ("act", "gepa"), ("recursive", "random-search")]
)
def test_it_is_compiled_and_loaded(tmp_path: Path, module: str, optimizer: str) -> None:
    run = lmpipe.compile(made(module, optimizer), runs=tmp_path)
    rows = [row for one in run.candidates for row in one.evaluation.rows if row is not None]
    assert not [row.failure for row in rows if row.failure]
    loaded = lmpipe.load(run.path, programs()[module])
    with lmpipe.using(lm=student(module), runtime=Runtime()):
        assert loaded(thing="apple number 7").colour == "red"


@each
def test_demonstrations_make_the_code_better(tmp_path: Path, module: str) -> None:
    run = lmpipe.compile(made(module, "bootstrap"), runs=tmp_path)
    declared = next(one for one in run.candidates if one.name == "as declared")
    assert run.best.score > declared.score
    path = "write" if module == "program" else "act"
    assert any("thing" in demo.outputs["code"] for demo in run.state[path].demos)


def test_the_predictor_of_queries_is_compiled_too(tmp_path: Path) -> None:
    run = lmpipe.compile(made("recursive", "bootstrap"), runs=tmp_path)
    assert {demo.outputs["response"] for demo in run.state["sub"].demos} <= {"red", "green", "blue"}
    assert run.state["sub"].demos


@pytest.mark.parametrize("module", ["act", "recursive"])
def test_the_concurrency_does_not_change_the_result(tmp_path: Path, module: str) -> None:
    files = {
        (
            lmpipe.compile(
                made(module, "random-search"),
                runs=tmp_path / str(concurrency),
                concurrency=concurrency,
            ).path
            / "program.json"
        ).read_bytes()
        for concurrency in (1, 16)
    }
    assert len(files) == 1


@each
def test_a_budget_of_calls_is_never_exceeded(tmp_path: Path, module: str) -> None:
    lm = student(module)
    budget = lmpipe.Budget(calls=250)
    lmpipe.compile(
        made(module, "random-search", student=lm, budget=budget), runs=tmp_path, concurrency=8
    )
    assert 0 < len(lm.requests) <= 250


def test_a_runaway_loop_and_10_gb_are_failures_of_code_and_the_compile_goes_on(
    tmp_path: Path,
) -> None:
    sandbox = lmpipe.MontySandbox(limits=lmpipe.SandboxLimits(seconds=0.5, memory_mb=64))
    program = lmpipe.CodeAct("thing -> colour", [], max_steps=2, sandbox=sandbox)
    hostile = ["while True:\n    pass", "x = 'a' * 10_000_000_000"]

    def script(request: Request) -> str:
        text = request.messages[-1].text
        if "TimeoutError" in text or "MemoryError" in text:
            return "[[reasoning]]\nMended.\n\n[[code]]\nsubmit('red')"
        return f"[[reasoning]]\nHostile.\n\n[[code]]\n{hostile[len(text) % 2]}"

    lm = lmpipe.ScriptedLM(script, name="hostile")
    data = {"train": DATA["train"][:2], "val": DATA["val"][:4], "test": DATA["test"][:2]}
    run = lmpipe.compile(
        recipe(program=program, student=lm, optimizer="labeled", **data), runs=tmp_path
    )
    rows = [row for one in run.candidates for row in one.evaluation.rows if row is not None]
    assert {row.prediction.colour for row in rows} == {"red"}


async def compiled(made_recipe: lmpipe.Recipe, runs: Path, store: Cache) -> bytes:
    with lmpipe.using(runtime=Runtime(store=store)):
        run = await lmpipe.acompile(made_recipe, runs=runs, concurrency=4)
    return (run.path / "program.json").read_bytes()


async def test_a_stopped_compile_resumes_without_repeated_calls(tmp_path: Path) -> None:
    here = asyncio.get_running_loop()
    reached = 0

    def stalls(request: Request) -> str:
        nonlocal reached
        reached += 1
        if reached == 60:
            here.call_soon_threadsafe(running.cancel)
        return answer("act", request)

    def requests(made_recipe: Any) -> int:
        return len(made_recipe.student.requests)

    store, other = Cache(tmp_path / "cache"), Cache(tmp_path / "other")
    stopped = made("act", "random-search", student=lmpipe.ScriptedLM(stalls, name="act"))
    running = asyncio.ensure_future(compiled(stopped, tmp_path / "runs", store))
    with pytest.raises(asyncio.CancelledError):
        await running
    first = requests(stopped)
    resumed, whole = made("act", "random-search"), made("act", "random-search")
    program = await compiled(resumed, tmp_path / "runs", store)
    store.close()
    assert program == await compiled(whole, tmp_path / "whole", other)
    other.close()
    assert first + requests(resumed) <= requests(whole) + 4
