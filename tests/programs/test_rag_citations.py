"""Answers cite the passages that prove them."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.world_reader import read_world

import lmpipe
from lmpipe.errors import OutputError
from programs import rag_citations
from programs.world_data import PASSAGES, questions

# The first passage that is found for the question has other words.
WRONG_QUOTE = """[[citations]]
[{"id": "%s", "quote": "the moon is made of cheese"}]

[[answer]]
x"""


def test_a_compile_makes_answers_that_cite_their_proof(tmp_path: Path) -> None:
    lm = lmpipe.ScriptedLM(read_world, context=16_384)
    recipe = rag_citations.recipe.replace(
        student=lm, train_size=20, val_size=8, test_size=20, racing=None, train_check=0
    )
    run = lmpipe.compile(recipe, runs=tmp_path)
    assert run.test is not None
    compiled = run.test.evaluations["compiled"]
    assert run.test.evaluations[run.test.baseline].score == 0
    for row in compiled.rows:  # two searches are enough for two hops
        if row.example.kind == "two hops":
            assert {one.id for one in row.prediction.citations} == set(row.example.support)
            assert row.score.value == 1


def test_words_that_are_not_in_the_passage_are_asked_for_again() -> None:
    [example, *_] = questions("val").read()
    [found] = PASSAGES.search([example.question], k=1)
    lm = lmpipe.ScriptedLM(["[[query]]\nx", *[WRONG_QUOTE % found[0].id] * 2])
    with lmpipe.using(lm=lm), pytest.raises(OutputError, match="is not in the passage"):
        rag_citations.CitingRag()(question=example.question)


def test_demonstrations_cite_the_sentences_of_the_proof() -> None:
    for example in questions("train").read():
        texts = {passage["id"]: passage["text"] for passage in example.passages}
        assert {one["id"] for one in example.citations} == set(texts)
        assert all(one["quote"] in texts[one["id"]] for one in example.citations)


@pytest.mark.parametrize(
    ("answer", "citations", "value"),
    [
        ("Lund", ["p1", "p2"], 1),
        ("Lund", ["p1"], 5 / 6),
        ("Lund", [], 0.5),
        ("Vik", ["p1", "p2"], 0),
    ],
)
def test_citations_count_half_and_only_with_the_right_answer(
    answer: str, citations: list[str], value: float
) -> None:
    example = lmpipe.Example(answer="Lund", support=["p1", "p2"], reasoning="Ada is from Lund.")
    given = [lmpipe.Citation(id=one, quote="Ada") for one in citations]
    score = rag_citations.cited_answer(example, {"answer": answer, "citations": given})
    assert score.value == pytest.approx(value)
