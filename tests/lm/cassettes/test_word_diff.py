"""Differences between texts, for people to read."""

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
def test_changed_words_are_marked_and_other_lines_left_out(
    old: str, new: str, shown: list[str]
) -> None:
    assert changed_lines(old, new) == shown


def test_unchanged_text_far_from_the_change_is_left_out() -> None:
    (line,) = changed_lines(f"{LONG} team {LONG}", f"{LONG} group {LONG}")
    assert re.fullmatch(r"… .{30,48} \[-team-\] \{\+group\+\} .{30,48} …", line)


def test_long_changes_are_cut() -> None:
    (line,) = changed_lines("", LONG, longest=40)
    assert len(line) < 60
    assert line.endswith("…+}")


def test_only_so_many_lines_are_shown() -> None:
    new = "\n".join(f"line {n}" for n in range(50))
    lines = changed_lines("", new, most=4)
    assert len(lines) == 4
    assert lines[-1] == "… and 47 more lines that differ"


def test_texts_with_nothing_in_common_stand_one_after_the_other() -> None:
    assert changed_lines("Where is my parcel", "I was charged twice") == [
        "[-Where is my parcel-] {+I was charged twice+}"
    ]


def test_texts_of_many_thousand_words_are_compared_at_once() -> None:
    old = " ".join(f"old{n % 7}" for n in range(20_000))
    new = " ".join(f"new{n % 5}" for n in range(20_000))
    assert len(changed_lines(old, new)) == 1


@given(texts, texts)
def test_there_are_lines_exactly_where_texts_differ(old: str, new: str) -> None:
    lines = changed_lines(old, new, most=100)
    assert bool(lines) == (old != new)
    assert all(re.search(r"\[-|\{\+", line) for line in lines)


@given(texts, texts)
def test_what_is_marked_as_old_was_there_and_what_is_marked_as_new_is(old: str, new: str) -> None:
    for line in changed_lines(old, new, most=100):
        assert all(part in old for part in re.findall(r"\[-([^⏎]*?)-\]", line))
        assert all(part in new for part in re.findall(r"\{\+([^⏎]*?)\+\}", line))
