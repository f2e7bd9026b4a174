"""Differences between texts as people read them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.lm.cassettes.word_diff import changed_lines

LONG = " ".join(f"word{n}" for n in range(60))
words = st.lists(st.sampled_from(["team", "group", "the", ".", "\n", "a b"]), max_size=12)
texts = words.map(" ".join)


@pytest.mark.parametrize(
    ("old", "new", "shown"),
    [
        ("to the team.", "to the group.", ["to the [-team-] {+group+}."]),
        ("a b c d e f", "a x y d e f", ["a [-b c-] {+x y+} d e f"]),
        ("one\ntwo\nthree", "one\n2\nthree", ["[-two-] {+2+}"]),
        ("one\nthree", "one\ntwo\nthree", ["{+two+}"]),
        ("one\ntwo\nthree", "one\nthree", ["[-two-]"]),
        ("one", "one\n", ["one{+⏎+}"]),
        ("", "new", ["{+new+}"]),
        ("same", "same", []),
    ],
)
def test_changed_words_are_marked_and_unchanged_lines_left_out(
    old: str, new: str, shown: list[str]
) -> None:
    assert changed_lines(old, new) == shown


def test_unchanged_text_far_from_the_change_is_left_out() -> None:
    (line,) = changed_lines(f"{LONG} team {LONG}", f"{LONG} group {LONG}")
    assert re.fullmatch(r"… .{30,48} \[-team-\] \{\+group\+\} .{30,48} …", line)


def test_long_changes_are_cut() -> None:
    (line,) = changed_lines("", LONG, max_change=40)
    assert len(line) < 60
    assert line.endswith("…+}")


def test_the_number_of_lines_is_limited() -> None:
    new = "\n".join(f"line {n}" for n in range(50))
    lines = changed_lines("", new, max_lines=4)
    assert len(lines) == 4
    assert lines[-1] == "… and 47 more lines that differ"


def test_texts_with_nothing_in_common_are_shown_one_after_the_other() -> None:
    assert changed_lines("Where is my parcel", "I was charged twice") == [
        "[-Where is my parcel-] {+I was charged twice+}"
    ]


def test_very_long_texts_are_not_compared_word_by_word() -> None:
    old = " ".join(f"old{n % 7}" for n in range(20_000))
    new = " ".join(f"new{n % 5}" for n in range(20_000))
    assert len(changed_lines(old, new)) == 1


@given(texts, texts)
def test_lines_are_shown_exactly_when_texts_differ(old: str, new: str) -> None:
    lines = changed_lines(old, new, max_lines=100)
    assert bool(lines) == (old != new)
    assert all(re.search(r"\[-|\{\+", line) for line in lines)


@given(texts, texts)
def test_marked_text_comes_from_the_old_or_the_new_text(old: str, new: str) -> None:
    for line in changed_lines(old, new, max_lines=100):
        assert all(part in old for part in re.findall(r"\[-([^⏎]*?)-\]", line))
        assert all(part in new for part in re.findall(r"\{\+([^⏎]*?)\+\}", line))
