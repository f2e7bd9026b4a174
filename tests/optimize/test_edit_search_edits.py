"""Edits of an instruction's lines: how they are applied, refused and told."""

from __future__ import annotations

import pytest

from lmpipe.optimize.edit_search_edits import LineEdit, apply_edits, numbered_lines

THREE = "first\nsecond\nthird"


def add(line: int, text: str) -> LineEdit:
    return LineEdit(action="add", line=line, text=text)


def replace(line: int, text: str) -> LineEdit:
    return LineEdit(action="replace", line=line, text=text)


def delete(line: int) -> LineEdit:
    return LineEdit(action="delete", line=line, text="")


def test_lines_are_numbered_from_1() -> None:
    assert numbered_lines("first\nsecond") == "1: first\n2: second"


def test_an_empty_instruction_is_called_so() -> None:
    assert numbered_lines("") == "(empty)"


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (add(1, "new"), "first\nnew\nsecond\nthird"),
        (add(0, "new"), "new\nfirst\nsecond\nthird"),
        (add(3, "new"), "first\nsecond\nthird\nnew"),
        (add(99, "new"), "first\nsecond\nthird\nnew"),
        (replace(2, "new"), "first\nnew\nthird"),
        (delete(2), "first\nthird"),
    ],
)
def test_one_edit_changes_one_line(edit: LineEdit, expected: str) -> None:
    assert apply_edits(THREE, [[edit]], 8).instruction == expected


def test_line_numbers_are_those_of_the_old_instruction() -> None:
    edits = [delete(1), replace(2, "2nd"), add(2, "after the second"), add(2, "and then")]
    edited = apply_edits(THREE, [edits], 8)
    assert edited.instruction == "2nd\nafter the second\nand then\nthird"


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (add(1, ""), "it has no text"),
        (replace(1, "  "), "it has no text"),
        (replace(4, "new"), "there is no line 4"),
        (delete(0), "there is no line 0"),
        (add(1, "second"), "the instruction has this line already"),
    ],
)
def test_an_edit_that_cannot_be_applied_is_refused_alone(edit: LineEdit, reason: str) -> None:
    edited = apply_edits(THREE, [[edit, add(3, "fourth")]], 8)
    assert edited.instruction == f"{THREE}\nfourth"
    assert [why for _, why in edited.refused] == [reason]


def test_of_two_edits_of_one_line_the_second_is_refused() -> None:
    edited = apply_edits(THREE, [[replace(1, "1st")], [delete(1)]], 8)
    assert edited.instruction == "1st\nsecond\nthird"
    assert edited.refused == (("delete: first", "line 1 is changed by another edit"),)


def test_the_same_edit_of_two_proposals_is_applied_once() -> None:
    edited = apply_edits(THREE, [[add(3, "new")], [add(1, "new")]], 8)
    assert edited.instruction == f"{THREE}\nnew"
    assert edited.refused == ()


def test_what_more_proposals_ask_for_comes_first() -> None:
    edited = apply_edits("", [[add(0, "one"), add(0, "both")], [add(0, "both")]], 1)
    assert edited.applied == ("add: both",)


def test_the_first_edits_of_all_proposals_come_before_the_second_ones() -> None:
    edited = apply_edits("", [[add(0, "a"), add(0, "b")], [add(0, "c"), add(0, "d")]], 3)
    assert edited.applied == ("add: a", "add: c", "add: b")


def test_edits_beyond_the_maximum_are_refused() -> None:
    edited = apply_edits("", [[add(0, "a"), add(0, "b")]], 1)
    assert edited.instruction == "a"
    assert edited.refused == (("add: b", "a step applies at most 1 edit"),)


def test_what_a_proposer_copies_from_the_question_is_stripped() -> None:
    edited = apply_edits(THREE, [[replace(2, '"2: the second"')]], 8)
    assert edited.instruction == "first\nthe second\nthird"


def test_edits_are_told_without_line_numbers() -> None:
    edited = apply_edits(THREE, [[replace(2, "2nd"), delete(3), add(1, "new")]], 8)
    assert edited.applied == ("replace: second\nby: 2nd", "delete: third", "add: new")


def test_all_lines_may_be_deleted() -> None:
    edited = apply_edits(THREE, [[delete(1), delete(2), delete(3)]], 8)
    assert edited.instruction == ""
