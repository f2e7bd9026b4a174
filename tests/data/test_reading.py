"""Checking rows as they are read, and choosing between files and the hub."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.rows import Write, read

from lmpipe.errors import DataError


def test_required_fields_are_checked(write: Write) -> None:
    with pytest.raises(DataError, match=r"x\.jsonl:1: the row has no field 'answer'"):
        read(write("x.jsonl", '{"question":1}'), required=["answer"])


def test_rows_after_the_limit_are_not_read(write: Write) -> None:
    assert len(read(write("x.jsonl", '{"question":1}\nbroken'), limit=1)) == 1


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, "2"])
def test_a_limit_must_be_a_positive_whole_number(write: Write, limit: object) -> None:
    with pytest.raises(DataError, match=r"read_examples\(limit="):
        read(write("x.jsonl", '{"question":1}'), limit=limit)


def test_fields_are_renamed_before_they_are_checked(write: Write) -> None:
    path = write("x.jsonl", '{"values":1,"answer":2}')
    assert read(path, rename={"values": "question"})[0].to_json() == {"question": 1, "answer": 2}


def test_two_fields_can_be_swapped(write: Write) -> None:
    path = write("x.jsonl", '{"question":1,"answer":2}')
    swapped = read(path, rename={"question": "answer", "answer": "question"})
    assert swapped[0].to_json() == {"question": 2, "answer": 1}


def test_rename_of_an_unknown_field_is_an_error(write: Write) -> None:
    with pytest.raises(DataError, match=r"rename 'text' to 'x'.*no field 'text'"):
        read(write("x.jsonl", '{"question":1}'), rename={"text": "x"})


def test_rename_onto_another_field_is_an_error(write: Write) -> None:
    with pytest.raises(DataError, match="already has a field of that name"):
        read(write("x.jsonl", '{"question":1,"b":2}'), rename={"b": "question"})


def test_inputs_must_be_a_list(write: Write) -> None:
    with pytest.raises(DataError, match=r"inputs=\['question'\]"):
        read(write("x.jsonl", '{"question":1}'), inputs="question")


@pytest.mark.parametrize("source", ["missing.jsonl", "./missing", "a/b/c", "~/x.csv", Path("x")])
def test_a_missing_path_is_not_looked_up_on_the_hub(source: str | Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read(source)


def test_a_folder_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder"):
        read(tmp_path)


def test_files_have_no_splits(write: Write) -> None:
    with pytest.raises(DataError, match="split='train' is for data sets on the hub"):
        read(write("x.jsonl", '{"question":1}'), split="train")


def test_a_row_may_lack_an_optional_input(write: Write) -> None:
    path = write("x.jsonl", '{"question": "a", "note": "n"}\n{"question": "b"}\n')
    rows = read(path, inputs=["question", "note"], optional=["note"])
    assert [dict(row.inputs) for row in rows] == [{"question": "a", "note": "n"}, {"question": "b"}]


def test_a_row_that_lacks_an_input_says_how_inputs_become_optional(write: Write) -> None:
    path = write("x.jsonl", '{"question": "a", "note": "n"}\n{"question": "b"}\n')
    with pytest.raises(DataError, match=r"x\.jsonl:2: .*no field 'note'.*optional=\['note'\]"):
        read(path, inputs=["question", "note"])


def test_an_input_may_not_be_named_as_a_text(write: Write) -> None:
    path = write("x.jsonl", '{"question": "a"}')
    with pytest.raises(DataError, match=r"optional is the text 'note'"):
        read(path, inputs=["question"], optional="note")
