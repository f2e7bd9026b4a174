"""What listeners are told of a compile."""

from __future__ import annotations

from pathlib import Path

from helpers.world import recipe

import lmpipe
from lmpipe.lm.events import (
    AnyEvent,
    CandidateScored,
    CompileEnded,
    CompileNoted,
    CompileStarted,
    LMEnded,
    RowEnded,
)
from lmpipe.optimize.engine.budget import Budget


def test_a_compile_is_told_from_its_start_to_its_run(tmp_path: Path) -> None:
    events: list[AnyEvent] = []
    with lmpipe.observing(events.append):
        run = lmpipe.compile(recipe(optimizer=lmpipe.LabeledFewShot(demos=2)), runs=tmp_path)
    started, ended = events[0], events[-1]
    assert isinstance(started, CompileStarted)
    assert (started.program, started.optimizer) == ("colours", "labeled")
    assert isinstance(ended, CompileEnded)
    assert ended.run is run
    assert {event.root for event in events} == {started.id}
    candidates = [event for event in events if isinstance(event, CandidateScored)]
    assert [event.candidate for event in candidates] == list(run.candidates)
    assert [event.candidate for event in candidates if event.best][-1] == run.best


def test_every_call_and_row_of_a_compile_is_told(tmp_path: Path) -> None:
    events: list[AnyEvent] = []
    with lmpipe.observing(events.append):
        run = lmpipe.compile(recipe(optimizer=lmpipe.LabeledFewShot(demos=2)), runs=tmp_path)
    assert run.test is not None
    called = [event for event in events if isinstance(event, LMEnded)]
    assert len(called) == run.account.total.calls
    rows = [event for event in events if isinstance(event, RowEnded)]
    scored = sum(len(candidate.evaluation.rows) for candidate in run.candidates)
    assert len(rows) > scored
    assert all(event.row is not None for event in rows)


def test_the_end_of_the_budget_is_noted(tmp_path: Path) -> None:
    events: list[AnyEvent] = []
    with lmpipe.observing(events.append):
        lmpipe.compile(recipe(budget=Budget(calls=60)), runs=tmp_path)
    notes = [event.note for event in events if isinstance(event, CompileNoted)]
    assert "budget exhausted" in notes


def test_a_compile_gives_the_same_result_with_a_listener(tmp_path: Path) -> None:
    made = recipe(optimizer=lmpipe.LabeledFewShot(demos=2))
    with lmpipe.observing(lambda event: None):
        observed = lmpipe.compile(made, runs=tmp_path / "observed")
    plain = lmpipe.compile(made, runs=tmp_path / "plain")
    assert observed.state == plain.state
