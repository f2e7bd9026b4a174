"""The wall time that is withheld from the search for the final test."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from helpers.world import answer, recipe

import lmpipe
from lmpipe.compiling.time_for_test import FinalTestTime
from lmpipe.lm.request import Request
from lmpipe.lm.spend import Spend
from lmpipe.optimize.engine.budget import Budget, Ledger
from lmpipe.optimize.engine.events import Progress


class Clock:
    """A time that only moves when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def watch(clock: Clock, *, examples: int) -> tuple[FinalTestTime, Ledger]:
    """Watch a search of 1000 seconds, whose final test has three states."""
    ledger = Ledger(Budget(seconds=1000), clock=clock)
    ledger.withhold(Spend(), "the final test")
    return FinalTestTime(ledger, states=3, examples=examples, concurrency=64), ledger


def run_step(
    watcher: FinalTestTime, clock: Clock, *, rows: int, fresh: int, step: str = "race"
) -> None:
    """Report a step of so many runs of one call each, which takes 10 seconds."""
    for done in (0, rows):
        spend = Spend(done, fresh_calls=fresh if done else 0)
        watcher.progress(Progress("search", step, done, rows, None, "", spend))
        clock.now += 0 if done else 10


@pytest.mark.parametrize(
    ("examples", "seconds"),
    [(100, 3 * 100 * 10 / 40), (5, 3 * 10)],
    ids=["at the rate of the search", "no faster than its shortest step"],
)
def test_the_time_of_the_test_is_estimated_from_the_steps_of_the_search(
    examples: int, seconds: float
) -> None:
    clock = Clock()
    watcher, ledger = watch(clock, examples=examples)
    run_step(watcher, clock, rows=40, fresh=40)
    assert ledger.seconds_left == pytest.approx(990 - 1.5 * seconds)


def test_replies_from_the_cache_do_not_make_the_test_look_fast() -> None:
    clock = Clock()
    watcher, ledger = watch(clock, examples=100)
    run_step(watcher, clock, rows=40, fresh=20)
    assert ledger.seconds_left == pytest.approx(990 - 1.5 * 3 * 100 * 10 / 20)


@pytest.mark.parametrize("step", ["rollouts 0", "rollouts 1"])
def test_the_teachers_time_is_not_measured(step: str) -> None:
    clock = Clock()
    watcher, ledger = watch(clock, examples=100)
    run_step(watcher, clock, rows=40, fresh=40, step=step)
    assert ledger.seconds_left == 990


def test_at_most_half_of_the_time_is_withheld() -> None:
    clock = Clock()
    watcher, ledger = watch(clock, examples=100_000)
    run_step(watcher, clock, rows=40, fresh=40)
    assert ledger.seconds_left == 490


def test_no_time_is_withheld_once_the_test_has_begun() -> None:
    clock = Clock()
    watcher, ledger = watch(clock, examples=100)
    ledger.release()
    run_step(watcher, clock, rows=40, fresh=40)
    assert ledger.seconds_left == 990


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of compiles: each reply of `slow` takes a second."""
    clock = Clock()
    monkeypatch.setattr("lmpipe.compiling.compile.Ledger", partial(Ledger, clock=clock))
    return clock


def slow(clock: Clock) -> lmpipe.LM:
    """Make the world's LM, which takes a second for a reply."""

    def reply(request: Request) -> str:
        clock.now += 1
        return answer(request)

    return lmpipe.ScriptedLM(reply)


def test_a_budget_of_time_leaves_time_for_the_test(tmp_path: Path, clock: Clock) -> None:
    made = recipe(student=slow(clock), budget=Budget(seconds=350))
    run = lmpipe.compile(made, runs=tmp_path, concurrency=1)
    assert "withheld for the final test" in run.stopped
    assert run.test is not None
    assert len(run.test.evaluations["compiled"].rows) == 40


def test_a_test_that_time_cuts_short_keeps_what_was_tested(tmp_path: Path, clock: Clock) -> None:
    made = recipe(student=slow(clock), budget=Budget(seconds=130))
    run = lmpipe.compile(made, runs=tmp_path, concurrency=4)
    assert run.test is not None
    tested = len(run.test.evaluations["compiled"].rows)
    assert 0 < tested < 40
    assert f"only {tested} of 40 examples were tested" in run.stopped
