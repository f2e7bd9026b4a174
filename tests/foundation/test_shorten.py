"""Texts that are cut, and counts with their nouns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.foundation.plural import plural
from lmpipe.foundation.shorten import one_line, short_repr, shorten, shorten_middle


@given(st.text(), st.integers(1, 50))
def test_a_text_is_cut_only_where_it_is_too_long(text: str, limit: int) -> None:
    short = shorten(text, limit)
    assert len(short) <= limit
    if len(text) <= limit:
        assert short == text
    else:
        assert short == text[: limit - 1] + "…"


@pytest.mark.parametrize(
    ("head", "tail", "expected"),
    [
        (10, 13, "one two … seven eight"),
        (10, 0, "one two …"),
        (0, 13, "… seven eight"),
        (12, 0, "one two thre …"),
        (100, 100, "one two three four five six seven eight"),
    ],
)
def test_a_text_is_cut_in_its_middle_between_words(head: int, tail: int, expected: str) -> None:
    text = "one two three four five six seven eight"
    assert shorten_middle(text, head=head, tail=tail) == expected


def test_one_line_joins_lines_and_shows_other_values_by_their_repr() -> None:
    assert one_line("  one\n two ") == "one two"
    assert one_line(["a"]) == "['a']"
    assert one_line("abcdef", 4) == "abc…"


def test_a_repr_is_cut() -> None:
    assert short_repr("abcdef", 4) == "'ab…"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (plural(1, "demo"), "1 demo"),
        (plural(0, "demo"), "0 demos"),
        (plural(12345, "row"), "12,345 rows"),
        (plural(2, "reply", "replies"), "2 replies"),
    ],
)
def test_a_noun_agrees_with_its_count(text: str, expected: str) -> None:
    assert text == expected
