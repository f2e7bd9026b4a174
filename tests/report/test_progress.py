"""The three views of a running compile, and how numbers are formatted."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from helpers.world import recipe
from rich.console import Console

import lmpipe
from lmpipe.errors import LMUnavailableError
from lmpipe.lm.spend import Spend
from lmpipe.optimize.engine.events import Progress
from lmpipe.report.progress import JsonLines, LivePanel, PlainLines, ProgressView
from lmpipe.report.text import duration, money, points
from lmpipe.weights.trainer import TrainingProgress

PROGRESS = Progress("search", "[bold]chat", 3, 8, 0.5, "as declared", Spend(12, 3400, 0, 7, 900))


def screen() -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, force_terminal=True, width=100, color_system=None), file


def test_the_panel_shows_the_current_step_and_the_best_score() -> None:
    console, file = screen()
    with LivePanel(console, "tickets") as panel:
        panel.progress(PROGRESS)
    shown = file.getvalue()
    for word in ("search", "[bold]chat", "3/8", "12 LM calls (7 fresh)", "50.0%: as declared"):
        assert word in shown.replace("best so far 50.0%:", "50.0%:")


def test_the_panel_shows_a_retry() -> None:
    console, file = screen()
    with LivePanel(console, "tickets") as panel:
        panel.progress(PROGRESS)
        panel.retry(2, 1.5, LMUnavailableError("connection refused"))
    assert "retrying in 1.5 s" in file.getvalue()


def test_a_compile_can_be_watched_on_a_terminal(tmp_path: Path) -> None:
    console, file = screen()
    with LivePanel(console, "colours") as panel:
        run = lmpipe.compile(recipe(), runs=tmp_path, watchers=[panel])
    for candidate in run.candidates:
        assert candidate.name in file.getvalue()


def test_plain_lines_have_one_line_for_each_candidate(tmp_path: Path) -> None:
    file = io.StringIO()
    run = lmpipe.compile(recipe(), runs=tmp_path, watchers=[PlainLines(file)])
    lines = [line for line in file.getvalue().splitlines() if line[:3].strip().isdigit()]
    assert len(lines) == len(run.candidates)


def training(phase: str, step: int, **known: float) -> Progress:
    state = TrainingProgress(step, 8, **known)
    return Progress(phase, "training self", step, 8, None, "", Spend(), state)


def test_plain_lines_report_each_quarter_of_a_training() -> None:
    file = io.StringIO()
    view = PlainLines(file)
    for phase in ("finetune", "distill"):
        view.progress(training(phase, 0))
        for step in range(1, 8):
            view.progress(training(phase, step, loss=4 / step, seconds_left=80 - 10.0 * step))
        view.progress(training(phase, 8, loss=0.5))
        # The held-out rows are scored after the last step, which is reported a second time then.
        view.progress(training(phase, 8, loss=0.5, held_out_loss=0.75))
    lines = [
        "  training self: 8 steps",
        "  training self: step 2 of 8, loss 2.000, 1 min 00 s left",
        "  training self: step 4 of 8, loss 1.000, 40.0 s left",
        "  training self: step 6 of 8, loss 0.667, 20.0 s left",
        "  training self: step 8 of 8, loss 0.500",
    ]
    assert file.getvalue().splitlines() == ["finetune:", *lines, "distill:", *lines]


def test_the_panel_shows_loss_and_time_left() -> None:
    console, file = screen()
    with LivePanel(console, "tickets") as panel:
        panel.progress(training("finetune", 4, loss=1.25, held_out_loss=1.5, seconds_left=75))
    assert "loss 1.250, 1.500 on held-out rows, 1 min 15 s left" in file.getvalue()


def test_json_lines_report_a_training() -> None:
    file = io.StringIO()
    JsonLines(file).progress(training("finetune", 8, loss=1.25))
    assert json.loads(file.getvalue())["training"]["loss"] == 1.25


def test_json_lines_are_objects_with_an_event(tmp_path: Path) -> None:
    file = io.StringIO()
    lmpipe.compile(recipe(), runs=tmp_path, watchers=[JsonLines(file)])
    assert all("event" in json.loads(line) for line in file.getvalue().splitlines())


@pytest.mark.parametrize("view", [JsonLines, PlainLines])
def test_retries_are_reported(view: type[JsonLines | PlainLines]) -> None:
    file = io.StringIO()
    watcher: ProgressView = view(file)
    watcher.retry(1, 2.0, LMUnavailableError("connection refused"))
    assert "connection refused" in file.getvalue()


def test_a_line_separates_its_own_runs_from_the_total_of_the_compile() -> None:
    file = io.StringIO()
    view = PlainLines(file)
    for phase, step, runs, before, after in (
        ("test", "compiled", 6, Spend(221, 8000, 0, 0, 0), Spend(233, 9000, 0, 0, 0)),
        ("train", "train", 1, Spend(233, 9000, 0, 0, 0), Spend(234, 9040, 0, 0, 0)),
    ):
        view.progress(Progress(phase, step, 0, runs, None, "", before))
        view.progress(Progress(phase, step, runs, runs, None, "", after))
    spend = "LM calls (0 fresh), {} tokens (0 fresh), $0.00]"
    assert file.getvalue().splitlines() == [
        f"test compiled: 6 runs, 12 LM calls  [total so far: 233 {spend.format('9,000')}",
        f"train: 1 run, 1 LM call  [total so far: 234 {spend.format('9,040')}",
    ]


def test_plain_lines_tell_how_far_a_long_step_is_every_15_seconds() -> None:
    file, now = io.StringIO(), [0.0]
    view = PlainLines(file, clock=lambda: now[0])
    for row in range(8):
        now[0] = 6.0 * row
        view.progress(Progress("search", "race of 3", row, 80, None, "", Spend()))
    assert file.getvalue().splitlines() == [
        "search:",
        "  race of 3: 3 of 80",
        "  race of 3: 6 of 80",
    ]


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (points(0.1234), "+12.3"),
        (points(-0.00001), "+0.0"),
        (money(0.0123), "$0.0123"),
        (money(12), "$12.00"),
        (duration(0.416), "0.42 s"),
        (duration(245), "4 min 05 s"),
        (duration(3725), "1 h 02 min"),
    ],
)
def test_numbers_are_formatted_for_people(shown: str, expected: str) -> None:
    assert shown == expected


def test_the_misleading_score_of_a_dropped_candidate_is_not_shown(tmp_path: Path) -> None:
    file = io.StringIO()
    run = lmpipe.compile(recipe(), runs=tmp_path, watchers=[PlainLines(file)])
    dropped = next(candidate for candidate in run.candidates if candidate.dropped)
    (line,) = (x for x in file.getvalue().splitlines() if x.startswith(f"{dropped.number:>3} "))
    assert f"dropped after {len(dropped.evaluation.rows)} of 30 examples" in line
    assert "%" not in line
