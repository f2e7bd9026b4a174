"""Answers cite the passages that prove them."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.world_reader import read_world

import lmpipe
from lmpipe.errors import OutputError
from programs import rag_citations
from programs.world_data import questions


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
            assert set(row.prediction.citations) == set(row.example.support)
            assert row.score.value == 1


def test_a_citation_of_a_passage_that_was_not_found_is_asked_for_again() -> None:
    cites_another = '[[citations]]\n["p999"]\n\n[[answer]]\nx'
    lm = lmpipe.ScriptedLM(["[[query]]\nx", cites_another, cites_another])
    [example, *_] = questions("val").read()
    with lmpipe.using(lm=lm), pytest.raises(OutputError, match="no passage has the id p999"):
        rag_citations.CitingRag()(question=example.question)


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
    example = lmpipe.Example(answer="Lund", citations=["p1", "p2"], reasoning="Ada is from Lund.")
    score = rag_citations.cited_answer(example, {"answer": answer, "citations": citations})
    assert score.value == pytest.approx(value)
