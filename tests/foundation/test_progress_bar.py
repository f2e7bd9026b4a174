"""Progress: a bar where a person looks, lines elsewhere, or nothing."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import pytest

from lmpipe.foundation import progress_bar as progress_bar_module
from lmpipe.foundation.progress_bar import Heartbeat, progress_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_heartbeat_writes_a_line_every_15_seconds() -> None:
    file, now = io.StringIO(), [0.0]
    lines = Heartbeat(file, clock=lambda: now[0])
    for second in range(0, 40, 5):
        now[0] = second
        lines.report("evaluating", second, 40)
    lines.write("done")
    assert file.getvalue().splitlines() == [
        "evaluating: 15 of 40",
        "evaluating: 30 of 40",
        "done",
    ]


def test_a_heartbeat_of_an_unknown_total_counts_what_is_done() -> None:
    file, now = io.StringIO(), [0.0]
    lines = Heartbeat(file, clock=lambda: now[0])
    now[0] = 15
    lines.report("evaluating", 1234, None)
    assert file.getvalue() == "evaluating: 1,234\n"


def shown_on(file: io.StringIO, monkeypatch: pytest.MonkeyPatch, shown: bool | None) -> str:
    monkeypatch.setattr(sys, "stderr", file)
    with progress_bar(shown) as report:
        if report is not None:
            report("baselines", 3, 8)
    return file.getvalue()


@pytest.mark.parametrize("shown", [None, True])
def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch, shown: bool | None) -> None:
    monkeypatch.setenv("TERM", "xterm")
    text = shown_on(Terminal(), monkeypatch, shown)
    assert "baselines" in text
    assert "3/8" in text


@pytest.mark.parametrize("shown", [None, False])
def test_a_pipe_gets_nothing_unless_asked_for(
    monkeypatch: pytest.MonkeyPatch, shown: bool | None
) -> None:
    assert shown_on(io.StringIO(), monkeypatch, shown) == ""


@pytest.mark.parametrize(("shown", "lines"), [(None, 1), (True, 1), (False, 0)])
def test_a_notebook_without_widgets_gets_lines(
    monkeypatch: pytest.MonkeyPatch, shown: bool | None, lines: int
) -> None:
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setattr(progress_bar_module, "HEARTBEAT", 0)
    monkeypatch.setattr(progress_bar_module.importlib.util, "find_spec", lambda name: None)
    text = shown_on(io.StringIO(), monkeypatch, shown)
    assert text.splitlines() == ["baselines: 3 of 8"] * lines


def test_a_terminal_gets_nothing_if_progress_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown_on(Terminal(), monkeypatch, False) == ""
