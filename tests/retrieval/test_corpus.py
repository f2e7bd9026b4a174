"""Corpora as users have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import lmpipe
from lmpipe.errors import DataError
from lmpipe.retrieval.corpus import read_corpus


def test_texts_documents_and_rows_are_passages() -> None:
    given: list[Any] = [
        "one",
        lmpipe.Document(text="two", title="Two", source="b.txt"),
        {"text": "three", "id": 3, "year": 1999},
    ]
    assert read_corpus(given) == (
        lmpipe.Passage("one", id="0"),
        lmpipe.Passage("two", id="1", title="Two", metadata={"source": "b.txt"}),
        lmpipe.Passage("three", id="3", metadata={"year": 1999}),
    )


def test_a_file_has_one_passage_on_each_line(tmp_path: Path) -> None:
    file = tmp_path / "corpus.jsonl"
    file.write_text('{"id": "a", "text": "one"}\n{"id": "b", "text": "two", "title": "T"}\n')
    assert [(one.id, one.title) for one in read_corpus(file)] == [("a", ""), ("b", "T")]


def test_the_line_without_a_text_is_named(tmp_path: Path) -> None:
    file = tmp_path / "corpus.jsonl"
    file.write_text('{"text": "one"}\n{"title": "two"}\n')
    with pytest.raises(DataError, match=r"corpus\.jsonl.*2.*needs 'text'"):
        read_corpus(file)


@pytest.mark.parametrize(
    ("corpus", "message"),
    [
        ([], "no passages"),
        ("text", "is one passage"),
        ([lmpipe.Passage("a", id="x"), lmpipe.Passage("b", id="x")], "two passages have the id"),
        ([5], "passage 0: not a passage: 5"),
        ([{"text": "a", "score": "high"}], "score of a passage is a number"),
        ([{"text": "a", "metadata": 1}], "metadata of a passage are a mapping"),
    ],
)
def test_what_is_no_corpus_is_refused(corpus: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_corpus(corpus)
