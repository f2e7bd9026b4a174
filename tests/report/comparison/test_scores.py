"""Scores of two programs on the same examples."""

from __future__ import annotations

import pytest

from lmpipe.foundation.statistics import paired_interval
from lmpipe.report.comparison.scores import compare_rows
from lmpipe.report.records import TestRow


def row(thing: str, score: float, label: str = "red") -> TestRow:
    example = {"thing": thing, "colour": label}
    return TestRow(example=example, prediction=None, score=score, feedback="", failure=None)


def test_rows_are_paired_by_example_in_any_order() -> None:
    found = compare_rows([row("a", 0), row("b", 1), row("c", 1)], [row("c", 0), row("a", 1)], "all")
    assert found is not None
    assert [pair.difference for pair in found.pairs] == [1, -1]
    assert found.unpaired == (1, 0)


def test_a_changed_label_is_another_example() -> None:
    assert compare_rows([row("a", 0)], [row("a", 1, label="blue")], "all") is None


def test_an_example_that_comes_twice_is_paired_in_order() -> None:
    found = compare_rows([row("a", 0), row("a", 1)], [row("a", 0.5), row("a", 1)], "all")
    assert found is not None
    assert [pair.difference for pair in found.pairs] == [0.5, 0]


def test_the_interval_is_of_the_differences() -> None:
    before, after = [0.0, 0.5, 1.0, 0.0], [1.0, 0.5, 0.0, 1.0]
    rows = [[row(str(n), score) for n, score in enumerate(side)] for side in (before, after)]
    found = compare_rows(rows[0], rows[1], "all")
    assert found is not None
    assert found.interval == paired_interval([1.0, 0.0, -1.0, 1.0])
    assert found.difference == pytest.approx(0.25)


def test_rows_that_changed_most_come_first() -> None:
    before = [row("a", 0), row("b", 0), row("c", 1)]
    found = compare_rows(before, [row("a", 0.5), row("b", 1), row("c", 0)], "all")
    assert found is not None
    assert [pair.after.example["thing"] for pair in found.better] == ["b", "a"]
    assert [pair.after.example["thing"] for pair in found.worse] == ["c"]
