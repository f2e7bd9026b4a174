"""The list of runs fits the terminal."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from lmpipe.report.runs_table import print_runs

RUN: dict[str, Any] = {
    "folder": "runs/20261126-203209-tickets-1a2b3c4d",
    "started": "2026-11-26T20:32:09+0000",
    "program": "tickets",
    "status": "done",
    "optimizer": "random-search",
    "baseline": 0.156,
    "compiled": 0.562,
    "difference": 0.406,
    "interval": [0.254, 0.558],
    "calls": 12304,
    "usd": 0.5,
}
UNFINISHED = {
    **RUN,
    "status": "interrupted",
    "baseline": None,
    "compiled": None,
    "difference": None,
    "interval": None,
    "calls": None,
    "usd": None,
}


def printed(width: int, *runs: dict[str, Any]) -> list[str]:
    file = io.StringIO()
    print_runs(Console(file=file, width=width), runs)
    return file.getvalue().splitlines()


@pytest.mark.parametrize("width", [200, 140, 100])
def test_each_run_is_one_line_with_scores_and_folder(width: int) -> None:
    lines = printed(width, RUN, UNFINISHED)
    assert len(lines) == 4
    assert max(map(len, lines)) <= width
    assert "15.6% → 56.2%" in lines[2]
    assert lines[2].rstrip().endswith(RUN["folder"])
    assert lines[3].rstrip().endswith(UNFINISHED["folder"])


def test_a_wide_terminal_shows_everything() -> None:
    _, _, line = printed(200, RUN)
    for text in ("2026-11-26 20:32", "random-search", "+40.6", "+25.4 to +55.8", "12,304"):
        assert text in line


def test_a_narrow_terminal_leaves_out_what_the_folder_says_too() -> None:
    head, _, line = printed(100, RUN)
    assert "started" not in head
    assert "+40.6" in line
