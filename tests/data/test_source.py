"""Reading the examples of a set where it is needed."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.rows import ROWS, Write

from lmpipe.data.example import Example
from lmpipe.data.source import Source, load_examples
from lmpipe.errors import DataError

JSONL = '{"question":"q1","answer":"a1"}\n{"question":"q2","answer":"a2"}'


def test_a_source_reads_its_file(write: Write) -> None:
    assert Source(write("x.jsonl", JSONL), inputs=["question"]).read() == ROWS


def test_rows_are_converted_before_they_become_examples(write: Write) -> None:
    path = write("x.jsonl", JSONL)

    def convert(row: dict[str, Any]) -> dict[str, Any]:
        return {**row, "question": row["question"].upper()}

    examples = Source(path, inputs=["question"], convert=convert).read()
    assert [example.question for example in examples] == ["Q1", "Q2"]


@pytest.mark.parametrize(
    ("converted", "message"),
    [
        ({"answer": 1}, r"row 1, as convert= returned it: .*'question'"),
        (None, r"row 1, as convert= returned it: expected a dict of fields, got NoneType"),
    ],
)
def test_a_wrong_conversion_is_named_in_the_error(
    write: Write, converted: Any, message: str
) -> None:
    source = Source(write("x.jsonl", JSONL), inputs=["question"], convert=lambda row: converted)
    with pytest.raises(DataError, match=message):
        source.read()


def test_examples_in_memory_are_copied() -> None:
    loaded = load_examples("train", ROWS)
    assert loaded == ROWS
    assert loaded is not ROWS


def test_an_empty_set_is_rejected() -> None:
    with pytest.raises(DataError, match="train has no rows"):
        load_examples("train", [])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("rows.jsonl", r"train is 'rows\.jsonl': give lmpipe\.Source\('rows\.jsonl', inputs="),
        (3, "train is 3: give a list of examples"),
        ([Example(q="a")], "train: row 1: which fields are inputs"),
        (Source("no.jsonl", inputs=["q"]), r"train: no\.jsonl: no such file"),
    ],
)
def test_data_of_another_kind_is_named_with_its_remedy(data: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        load_examples("train", data)


def test_a_source_may_have_optional_inputs(write: Write) -> None:
    path = write("x.jsonl", '{"question": "a"}')
    (example,) = Source(path, inputs=["question", "note"], optional=["note"]).read()
    assert dict(example.inputs) == {"question": "a"}


def test_plain_dicts_in_place_of_examples_are_refused() -> None:
    rows: Any = [{"question": "q", "answer": "a"}]
    with pytest.raises(DataError, match=r"train: row 1 is .*lmpipe\.Example\(\*\*row\)"):
        load_examples("train", rows)
