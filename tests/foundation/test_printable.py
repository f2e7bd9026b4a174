"""Control characters are shown, not obeyed."""

from __future__ import annotations

import pytest

from lmpipe.foundation.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("over\rwritten", r"over\rwritten"),
        ("\x9b31m", r"\x9b31m"),
        ("a\u202eb", r"a\u202eb"),
        ("\ud800", r"\ud800"),
    ],
)
def test_a_control_character_is_written_as_an_escape(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_ordinary_text_stays_as_it_is() -> None:
    text = "one\n\ttwo  é 日本 😀 \u200d"
    assert printable(text) == text
