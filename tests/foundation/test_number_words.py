"""Numbers in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.foundation.number_words import number_in_words


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("five", "5"),
        ("Zero.", "0"),
        ("**Twenty-one**", "21"),
        ("minus three", "-3"),
        ("a dozen", "12"),
        ("two dozen eggs", "24"),
        ("a hundred", "100"),
        ("one hundred and five", "105"),
        ("five hundred thousand", "500000"),
        ("two thousand and twelve", "2012"),
        ("three million two hundred thousand", "3200000"),
        ("twelve apples", "12"),
        ("forty-two percent", "42"),
        ("The answer is five.", "5"),
        ("So the total: nine", "9"),
        ("It's one", "1"),
    ],
)
def test_numbers_in_words_are_read(text: str, number: str) -> None:
    assert number_in_words(text) == number


@pytest.mark.parametrize(
    "text",
    [
        "one moment",
        "no one",
        "one of them",
        "five six",
        "five or six",
        "five or",
        "two thirds",
        "seven tenths",
        "one thousand million",
        "twenty eleven",
        "a",
        "a a hundred",
        "hundred",
        "minus",
        "",
        "five " * 50,
    ],
)
def test_other_words_are_not_numbers(text: str) -> None:
    assert number_in_words(text) is None


@given(st.lists(st.sampled_from(["five", "a", "and", "hundred", "-", "million", "x", "minus"])))
def test_any_words_are_a_whole_number_or_none(words: list[str]) -> None:
    number = number_in_words(" ".join(words))
    assert number is None or str(int(number)) == number
