"""Halves of characters, which JSON can hold, become valid Unicode."""

from __future__ import annotations

import pytest

from lmpipe.foundation.unicode_text import valid_unicode, with_valid_texts


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("", ""),
        ("hi 😀!", "hi 😀!"),
        ("hi \ud83d\ude00!", "hi 😀!"),
        ("a\ud83d", "a\ufffd"),
        ("\ude00b", "\ufffdb"),
        ("a\ud83db", "a\ufffdb"),
        ("\ude00\ud83d", "\ufffd\ufffd"),
    ],
)
def test_two_halves_are_joined_and_a_half_alone_is_replaced(text: str, valid: str) -> None:
    assert valid_unicode(text) == valid


def test_all_texts_and_keys_of_a_value_become_valid() -> None:
    value = {"\ud83d": ["a\ud83d", ("😀", 1)], "b": {"c": None}}
    assert with_valid_texts(value) == {"\ufffd": ["a\ufffd", ["😀", 1]], "b": {"c": None}}
