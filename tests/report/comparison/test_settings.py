"""What runs were made of, as far as it differs."""

from __future__ import annotations

from lmpipe.report.comparison.settings import compare_settings
from lmpipe.report.text import NOTHING

ONE = {
    "seed": 0,
    "optimizer": {"name": "knn", "settings": {"k": 3}},
    "data": {"test": {"rows": 8, "fingerprint": "a" * 64}},
    "program": {"name": "colours", "folder": "/one"},
}


def test_equal_settings_are_left_out() -> None:
    assert compare_settings([ONE, {**ONE, "started": "later"}]) == []


def test_settings_of_an_optimizer_are_named_after_it() -> None:
    other = {**ONE, "optimizer": {"name": "knn", "settings": {"k": 5}}}
    (row,) = compare_settings([ONE, other])
    assert (row.name, row.values) == ("optimizer.k", ("3", "5"))


def test_a_setting_that_a_run_lacks_is_a_dash() -> None:
    (row,) = compare_settings([ONE, {**ONE, "budget": {"calls": 9}}, ONE])
    assert (row.name, row.values) == ("budget.calls", (NOTHING, "9", NOTHING))


def test_hashes_are_cut() -> None:
    other = {**ONE, "data": {"test": {"rows": 8, "fingerprint": "b" * 64}}}
    (row,) = compare_settings([ONE, other])
    assert row.values == ("a" * 12, "b" * 12)


def test_where_the_program_lay_does_not_count() -> None:
    assert compare_settings([ONE, {**ONE, "program": {"name": "colours", "folder": "/two"}}]) == []


def test_settings_of_other_optimizers_are_one_row() -> None:
    other = {**ONE, "optimizer": {"name": "labeled", "settings": {"demos": 8}}}
    (row,) = compare_settings([ONE, other])
    assert (row.name, row.values) == ("optimizer", ("knn: k=3", "labeled: demos=8"))
