"""A comparison on the terminal and in a pipe."""

from __future__ import annotations

import io

from helpers.world import NameColour
from rich.console import Console

import lmpipe
from lmpipe.report.comparison.runs import Comparison
from lmpipe.report.comparison.scores import compare_rows
from lmpipe.report.comparison.states import compare_states
from lmpipe.report.comparison.terminal import print_comparison
from lmpipe.report.records import TestRow

DECLARED = lmpipe.Predict(NameColour).state()


def printed(found: Comparison, *, colours: bool = False, rows: int = 3) -> str:
    file = io.StringIO()
    system = "standard" if colours else None
    console = Console(file=file, width=200, force_terminal=colours, color_system=system)
    print_comparison(console, found, rows=rows)
    return file.getvalue()


def of_instructions(before: str, after: str) -> Comparison:
    states = [DECLARED.map(instruction=text) for text in (before, after)]
    return Comparison(("a", "b"), (), None, compare_states(*states))


def of_scores(before: list[float], after: list[float]) -> Comparison:
    rows = [
        [
            TestRow(example={"n": n}, prediction="x", score=s, feedback="", failure=None)
            for n, s in enumerate(scores)
        ]
        for scores in (before, after)
    ]
    return Comparison(("a", "b"), (), None, {}, compare_rows(rows[0], rows[1], "test examples"))


def test_a_pipe_gets_marks_and_a_terminal_colours() -> None:
    found = of_instructions("Say it now.", "Say it later, please.")
    assert "    Say it [-now.-] {+later, please.+}\n" in printed(found)
    coloured = printed(found, colours=True)
    assert "[-" not in coloured
    assert "\x1b[" in coloured


def test_lines_of_an_instruction_stay_lines() -> None:
    found = of_instructions("One.\nTwo.", "One.\nThree.")
    assert "    One.\n    [-Two.-]\n    {+Three.+}\n" in printed(found)


def test_as_many_rows_are_shown_as_asked_for() -> None:
    out = printed(of_scores([0.0] * 5, [1.0] * 5), rows=2)
    assert out.count("\nbetter: 0.0% → 100.0%") == 2
    assert "… and 3 more rows better" in out


def test_equal_scores_are_said_to_be_equal() -> None:
    out = printed(of_scores([0.5, 1.0], [0.5, 1.0]))
    assert "every row has the same score" in out
    assert "not certain" not in out


def test_one_example_is_one() -> None:
    found = of_scores([0.0, 1.0], [1.0])
    out = printed(found)
    assert " on 1 test example; " in out
    assert "1 row before and 0 after are of other examples" in out
