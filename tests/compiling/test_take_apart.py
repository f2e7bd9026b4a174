"""The result of a compile is taken apart after the test."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from helpers.killing import only_run
from helpers.world import NameColour, TwoSteps, answer, recipe, student, things

import lmpipe
from lmpipe.compiling.recipe import prepare
from lmpipe.compiling.run_folder import read_artifact, read_manifest
from lmpipe.errors import LMRequestError
from lmpipe.lm.cache.cache import Cache
from lmpipe.lm.request import Request
from lmpipe.lm.runtime import Runtime
from lmpipe.metrics import exact_match
from lmpipe.optimize.engine.budget import Budget, Ledger
from lmpipe.optimize.engine.events import Progress, WatcherBase
from lmpipe.optimize.engine.optimizer import Sizes
from lmpipe.settings import using

VAL = things(16, seed=1, start=100)
DATA = {"train": things(12), "val": VAL, "test": things(8, seed=2, start=200)}
LAYOUTS_THEN_DEMOS = lmpipe.Chain(
    stages=(lmpipe.LayoutSearch(demos=2), lmpipe.KNNFewShot(k=(2, 4)))
)


def ablating(**changes: object) -> lmpipe.Recipe:
    """A recipe whose result differs from the declared program in several parts."""
    return recipe(**{**DATA, "ablation": True, "optimizer": LAYOUTS_THEN_DEMOS, **changes})


def ablation_of(run: lmpipe.Run) -> Any:
    assert run.ablation is not None
    return run.ablation


def new_rows(run: lmpipe.Run) -> Counter[str]:
    """Count the rows that the ablation ran, by what they were run for."""
    lines = map(json.loads, (run.path / "scores.jsonl").read_text().splitlines())
    subjects = (line["subject"] for line in lines)
    return Counter(
        subject.removeprefix("ablation ") for subject in subjects if subject.startswith("ablation ")
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> lmpipe.Run:
    return lmpipe.compile(ablating(), runs=tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> lmpipe.Run:
    """The same compile without ablation."""
    return lmpipe.compile(ablating(ablation=False), runs=tmp_path_factory.mktemp("runs"))


def test_each_part_is_scored_without_it_and_alone(run: lmpipe.Run) -> None:
    declared = lmpipe.Predict(NameColour)
    found = {part.name: part for part in ablation_of(run).parts}

    def score(state: lmpipe.ProgramState) -> float:
        bound = declared.bind(state)
        return lmpipe.evaluate(bound, VAL, exact_match("colour"), lm=student()).score

    start, end = score(declared.state()), score(run.state)
    assert ablation_of(run).score == end
    without, alone = found["layout"].without, found["layout"].alone
    assert alone is not None
    assert without.score == score(run.state.map(layout="chat"))
    assert without.difference == pytest.approx(end - without.score)
    assert alone.score == score(declared.state().map(layout=run.state["self"].layout))
    assert alone.difference == pytest.approx(alone.score - start)
    without = found["demonstrations"].without
    assert without.score == score(run.state.without_demos())
    assert without.prompt_tokens > 0
    assert ablation_of(run).incomplete == ""


def test_rows_that_the_search_knows_are_not_run_again(tmp_path: Path) -> None:
    # Without racing, the search has all rows of the two baselines.
    search = lmpipe.LabeledFewShot(demos=6)
    run = lmpipe.compile(ablating(optimizer=search, racing=None), runs=tmp_path)
    parts = [part.name for part in ablation_of(run).parts]
    assert parts == ["demonstrations", "constrained outputs"]
    without_demos, with_demos = run.state.without_demos(), run.state.map(constrained=False)
    assert {without_demos, lmpipe.Predict(NameColour).state()} <= {
        candidate.state for candidate in run.candidates
    }
    known = {candidate.state for candidate in run.candidates}
    # Without one of two parts is the other one alone.
    assert new_rows(run) == ({} if with_demos in known else {"without constrained outputs": 16})


def test_the_only_part_is_not_tried_alone(tmp_path: Path) -> None:
    program = lmpipe.Predict(NameColour, constrained=True)
    search = lmpipe.LabeledFewShot(demos=6)
    run = lmpipe.compile(ablating(program=program, optimizer=search, racing=None), runs=tmp_path)
    (part,) = ablation_of(run).parts
    assert (part.name, part.alone) == ("demonstrations", None)
    assert not new_rows(run)


def test_a_result_as_declared_is_not_taken_apart(tmp_path: Path) -> None:
    flat = lmpipe.ScriptedLM(lambda request: "[[colour]]\nblue")
    run = lmpipe.compile(ablating(student=flat, optimizer="labeled"), runs=tmp_path)
    assert run.ablation is None


def test_without_ablation_nothing_is_taken_apart(plain: lmpipe.Run) -> None:
    assert plain.ablation is None
    assert not new_rows(plain)


def test_the_result_and_the_candidates_are_the_same_without_it(
    run: lmpipe.Run, plain: lmpipe.Run
) -> None:
    for name in ("program.json", "candidates.jsonl"):
        assert (run.path / name).read_bytes() == (plain.path / name).read_bytes(), name
    assert run.validation_estimate == plain.validation_estimate
    assert run.best.number == plain.best.number


def test_objectives_decide_on_the_parts(tmp_path: Path) -> None:
    run = lmpipe.compile(knowing(objectives={"tokens": -20.0}), runs=tmp_path)
    effects = {part.name: part.without for part in ablation_of(run).parts}
    demos = effects["demonstrations"]
    assert demos.prompt_tokens > 0
    assert demos.weighted.mean < demos.difference
    assert all("weighted" in part["without"] for part in ablation_of(run).to_json()["parts"])


def test_several_predictors_are_taken_apart_together(tmp_path: Path) -> None:
    run = lmpipe.compile(ablating(program=TwoSteps()), runs=tmp_path)
    names = [part.name for part in ablation_of(run).parts]
    assert len(names) == len(set(names)) > 1


def test_at_most_a_hundred_examples_are_used(tmp_path: Path) -> None:
    made = ablating(val=things(120, seed=1, start=1000), optimizer=lmpipe.LabeledFewShot(demos=6))
    run = lmpipe.compile(made, runs=tmp_path)
    assert {part.without.examples for part in ablation_of(run).parts} == {100}


@pytest.mark.parametrize("more", [0, 20, 40, 60, 80, 100])
def test_it_gets_what_is_left_of_the_budget(tmp_path: Path, more: int, plain: lmpipe.Run) -> None:
    lm, results = student(), []
    calls = plain.account.total.calls + more
    made = ablating(student=lm, budget=Budget(calls=calls))
    for concurrency in (1, 32):
        lm.requests.clear()
        run = lmpipe.compile(made, runs=tmp_path / str(concurrency), concurrency=concurrency)
        assert len(lm.requests) <= calls
        results.append((run.ablation, run.account.total.calls))
    assert results[0] == results[1]


@dataclass(frozen=True, kw_only=True)
class Knowing:
    """Finds three parts at once, without a candidate but them all."""

    name: str = "knowing"

    async def optimize(self, task: lmpipe.Task) -> lmpipe.ProgramState:
        demos = [
            lmpipe.Demo(inputs=dict(row.inputs), outputs=dict(row.labels)) for row in task.train
        ]
        found = task.program.state().map(demos=demos[:8], layout="json", constrained=True)
        await task.race([("all of it", found)])
        return found

    def cost(self, sizes: Sizes) -> lmpipe.Cost:
        return lmpipe.Cost(sizes.val)

    def settings(self) -> dict[str, object]:
        return asdict(self)


def knowing(**changes: object) -> lmpipe.Recipe:
    """A compile whose search knows no state that its ablation needs but the baselines."""
    return ablating(**{"optimizer": Knowing(), "racing": None, **changes})


def test_a_budget_that_is_too_small_for_it_is_named(tmp_path: Path) -> None:
    run = lmpipe.compile(knowing(budget=Budget(calls=120)), runs=tmp_path)
    assert ablation_of(run).parts == ()
    assert "the budget (calls=120) is used up" in ablation_of(run).incomplete
    assert "ablation" not in run.stopped


def test_all_parts_are_removed_on_the_same_examples_if_the_budget_ends(tmp_path: Path) -> None:
    run = lmpipe.compile(knowing(budget=Budget(calls=125)), runs=tmp_path)
    found = ablation_of(run)
    (examples,) = {part.without.examples for part in found.parts}
    assert 8 <= examples < 16
    assert f"the budget allowed {examples} of 16 examples" in found.incomplete
    assert {part.alone for part in found.parts} == {None}


def test_the_plan_bounds_it(run: lmpipe.Run) -> None:
    plan = prepare(ablating()).plan()
    assert plan.ablation is not None
    assert sum(new_rows(run).values()) <= plan.ablation.runs
    assert run.account.total.calls <= plan.total.calls
    assert plan.phases[-1] is plan.ablation
    assert prepare(ablating(ablation=False)).plan().ablation is None


def test_the_concurrency_does_not_change_it(tmp_path: Path, run: lmpipe.Run) -> None:
    one_by_one = lmpipe.compile(ablating(), runs=tmp_path / "one", concurrency=1)
    assert read_manifest(one_by_one.path)["ablation"] == read_manifest(run.path)["ablation"]
    for name in ("scores.jsonl", "program.json"):
        assert (one_by_one.path / name).read_bytes() == (run.path / name).read_bytes()


class Cancelling(WatcherBase):
    """Cancels the compile once some rows of the ablation have ended."""

    def __init__(self) -> None:
        self.compiling: asyncio.Future[lmpipe.Run] | None = None

    def progress(self, progress: Progress) -> None:
        if progress.phase == "ablation" and progress.done == 10 and self.compiling is not None:
            self.compiling.cancel()
            self.compiling = None


async def test_a_compile_that_is_stopped_in_it_is_tested_and_repeats_no_call(
    tmp_path: Path, run: lmpipe.Run
) -> None:
    asked: Counter[str] = Counter()

    def reply(request: Request) -> str:
        asked[request.key()] += 1
        return answer(request)

    made = ablating(student=lmpipe.ScriptedLM(reply, name="world"))
    store, watcher = Cache(tmp_path / "cache"), Cancelling()
    with using(runtime=Runtime(store=store)):
        running = asyncio.ensure_future(
            lmpipe.acompile(made, runs=tmp_path / "runs", watchers=[watcher], concurrency=4)
        )
        watcher.compiling = running
        with pytest.raises(asyncio.CancelledError):
            await running
        left = read_artifact(only_run(tmp_path / "runs"))
        assert left.manifest["status"] == "interrupted"
        assert left.manifest["test"]["scores"]["compiled"]["examples"] == 8
        resumed = await lmpipe.acompile(made, runs=tmp_path / "runs")
    store.close()
    assert resumed.path == left.path
    assert resumed.ablation == run.ablation
    assert resumed.state == left.state
    assert asked.total() - len(asked) <= 4  # those in flight


def test_an_lm_that_refuses_a_state_does_not_fail_the_compile(tmp_path: Path) -> None:
    def picky(request: Request) -> str:
        shows_demos = len(request.messages) > 2 and request.messages[-2].role == "assistant"
        if shows_demos and request.constraint is None and taking_apart:
            raise LMRequestError("demonstrations need constrained outputs")
        return answer(request)

    taking_apart: list[bool] = []

    class Told(WatcherBase):
        def progress(self, progress: Progress) -> None:
            if progress.phase == "ablation":
                taking_apart.append(True)

    search = lmpipe.LabeledFewShot(demos=6)
    made = ablating(student=lmpipe.ScriptedLM(picky), optimizer=search)
    run = lmpipe.compile(made, runs=tmp_path, watchers=[Told()])
    assert read_manifest(run.path)["status"] == "done"
    assert "demonstrations need constrained outputs" in ablation_of(run).incomplete


def test_it_ends_when_the_time_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = 0.0

    def reply(request: Request) -> str:
        nonlocal seconds
        seconds += 1  # each reply takes one
        return answer(request)

    clock = partial(Ledger, clock=lambda: seconds)
    monkeypatch.setattr("lmpipe.compiling.compile.Ledger", clock)
    lm, budget = lmpipe.ScriptedLM(reply), Budget(seconds=115)
    run = lmpipe.compile(knowing(student=lm, budget=budget), runs=tmp_path, concurrency=2)
    assert run.test is not None
    assert len(run.test.evaluations["compiled"].rows) == 8
    found = ablation_of(run)
    assert 8 <= found.parts[0].without.examples < 16
    assert "time is over" in found.incomplete
