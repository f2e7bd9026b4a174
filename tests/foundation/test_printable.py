"""Texts of others lose what a terminal would obey, and nothing else."""

from __future__ import annotations

import pytest

from lmpipe.foundation.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[2J\x1b[1;1Hwiped", "wiped"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bPdevice\x1b\\text", "text"),
        ("\x9b31mred", "red"),
        ("\x9d0;title\x9ctext", "text"),
        ("\x1b(Btext\x1b7", "text"),
        ("over\rwritten\x08\x00", "overwritten"),
        ("user\u202egnp.exe\u2066", "usergnp.exe"),
        ("cut \x1b[3", "cut "),
        ("cut \x1b", "cut "),
    ],
)
def test_what_a_terminal_obeys_is_removed(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize("text", ["", "plain", "a\tb\nc", "Ünïcödé 😀 [31m", "עברית"])
def test_other_text_is_kept(text: str) -> None:
    assert printable(text) == text


def test_an_unfinished_sequence_removes_its_line_only() -> None:
    assert printable("\x1b]0;title\nnext line") == "\nnext line"
