"""Shuffling, splitting and comparing examples."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.rows import ROWS, row, rows
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.data.example import Example
from lmpipe.data.splits import (
    check_disjoint,
    check_examples,
    check_not_empty,
    distinct_examples,
    fingerprint,
    sample_examples,
    shuffled,
    split,
    split_off,
)
from lmpipe.errors import DataError


def test_the_fingerprint_depends_on_the_order() -> None:
    assert fingerprint(ROWS) != fingerprint(ROWS[::-1])


def test_the_fingerprint_depends_on_the_inputs() -> None:
    assert fingerprint(ROWS) != fingerprint([one.with_inputs("answer") for one in ROWS])


def test_the_fingerprint_is_repeatable() -> None:
    assert fingerprint(ROWS) == fingerprint([row("q1", "a1"), row("q2", "a2")])


def test_an_empty_list_is_rejected() -> None:
    with pytest.raises(DataError, match="val has no rows"):
        check_not_empty("val", [])


def test_disjoint_splits_pass() -> None:
    check_disjoint(train=rows(3), val=[row("other")], test=[])


def test_shared_rows_are_named_in_the_error() -> None:
    train, test = rows(4), [row("x"), row("q2", "another answer"), row("q3")]
    with pytest.raises(DataError, match=r"train and test share 2 rows.*row 3 of train and row 2"):
        check_disjoint(train=train, val=[row("y")], test=test)


def test_distinct_keeps_the_first_of_equal_inputs() -> None:
    assert distinct_examples([row("q1", "a1"), row("q2", "a2"), row("q1", "a3")]) == ROWS


def test_a_shuffle_is_a_permutation() -> None:
    assert set(shuffled(rows(20), 1)) == set(rows(20))


def test_a_shuffle_depends_only_on_the_seed() -> None:
    assert (shuffled(rows(20), 1) == shuffled(rows(20), 1), shuffled(rows(20), 1)[:3]) == (
        True,
        [row("q11"), row("q5"), row("q17")],
    )


def test_another_seed_gives_another_order() -> None:
    assert shuffled(rows(20), 1) != shuffled(rows(20), 2)


def test_a_sample_has_its_size_and_no_row_twice() -> None:
    sample = sample_examples(rows(10), 4, seed=0)
    assert len(set(sample)) == 4


def test_a_sample_without_a_size_is_every_row_in_order() -> None:
    assert sample_examples(rows(10), None, seed=0) == rows(10)


def test_a_sample_cannot_be_larger_than_the_set() -> None:
    with pytest.raises(DataError, match="11 rows are needed, but there are only 10"):
        sample_examples(rows(10), 11, seed=0)


def test_sizes_are_exact_and_the_rest_is_left_out() -> None:
    assert [len(part) for part in split(rows(10), sizes=(3, 4), seed=0)] == [3, 4]


@given(st.integers(4, 60), st.integers(0, 5))
def test_fractions_that_sum_to_one_use_every_row_once(count: int, seed: int) -> None:
    parts = split(rows(count), fractions=(0.3, 0.3, 0.4), seed=seed)
    assert sorted(one.question for part in parts for one in part) == sorted(
        one.question for one in rows(count)
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "either sizes"),
        ({"sizes": (1,), "fractions": (0.5,)}, "either sizes"),
        ({"sizes": (8, 3)}, "need 11 rows, but there are 10"),
        ({"sizes": (8, 0)}, "each value of sizes must be 1 or more"),
        ({"sizes": (12, -3)}, "each value of sizes must be 1 or more"),
        ({"sizes": (2.5,)}, "a whole number"),
        ({"sizes": ()}, "sizes must be a tuple of 1 or more"),
        ({"sizes": 3}, "sizes must be a tuple of 1 or more"),
        ({"fractions": ()}, "fractions must be a tuple of 1 or more"),
        ({"fractions": (0.8, 0.3)}, "at most 1"),
        ({"fractions": (1.2, -0.3)}, "each value of fractions must be"),
        ({"fractions": (float("nan"),)}, "a finite number"),
        ({"fractions": (0.99, 0.01)}, "each part needs at least one"),
        ({"sizes": (1,), "seed": "x"}, r"split\(seed="),
    ],
)
def test_invalid_splits_are_rejected(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        split(rows(10), **{"seed": 0, **options})


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "q"}, r"train: row 2 is .*Example\(\*\*row\)\.with_inputs"),
        ("a question", r"train: row 2 is 'a question'.*with_inputs"),
    ],
)
def test_rows_that_are_no_examples_are_refused_with_a_remedy(row: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_examples("train", [Example(question="q"), row])


@pytest.mark.parametrize("row", [Example(question="q"), {"question": "q"}])
def test_one_row_without_a_list_is_refused(row: object) -> None:
    rows: Any = row
    with pytest.raises(DataError, match=r"train: .*'q'.* is one row; give a list of examples"):
        check_examples("train", rows)


@pytest.mark.parametrize(
    ("values", "count", "off"),
    [
        ("abcdef", 2, "ab"),
        ("aabcd", 1, "b"),
        ("aabcd", 3, "aab"),
        ("aaab", 2, "b"),
        ("aabb", 1, "aa"),
    ],
)
def test_rows_with_the_same_inputs_are_split_off_together(
    values: str, count: int, off: str
) -> None:
    rows = [Example(q=value).with_inputs("q") for value in values]
    parts = ["".join(row.q for row in part) for part in split_off(rows, count)]
    assert parts[0] == off
    assert sorted("".join(parts)) == sorted(values)
