"""Recall and precision of passages."""

from __future__ import annotations

from typing import Any

import pytest

import lmpipe
from lmpipe.errors import MetricError
from lmpipe.metrics import passage_precision, passage_recall

FOUND = [lmpipe.Passage("x", id="a"), lmpipe.Passage("y", id="b"), lmpipe.Passage("x", id="a")]


def example(*ids: Any) -> lmpipe.Example:
    return lmpipe.Example(question="q", support=list(ids)).with_inputs("question")


@pytest.mark.parametrize(
    ("gold", "recall", "precision"),
    [(["a"], 1, 0.5), (["a", "c"], 0.5, 0.5), (["c"], 0, 0), (["a", "b"], 1, 1), ([], 1, 0)],
)
def test_the_shares_of_ids(gold: list[str], recall: float, precision: float) -> None:
    prediction = {"passages": FOUND}
    assert passage_recall(gold="support")(example(*gold), prediction).value == recall
    assert passage_precision(gold="support")(example(*gold), prediction).value == precision


def test_citations_rows_and_numbers_have_ids_too() -> None:
    prediction = {"cited": [lmpipe.Citation(id="1", quote="x"), {"id": 2}, "3"]}
    metric = passage_recall("cited", gold="support")
    assert metric(example(1, "2", "4"), prediction).value == pytest.approx(2 / 3)


def test_nothing_that_was_found_is_precise() -> None:
    assert passage_precision(gold="support")(example("a"), {"passages": []}).value == 1


def test_feedback_names_what_is_missing() -> None:
    score = passage_recall(gold="support")(example("a", "c", "d"), {"passages": FOUND})
    assert score.feedback == "passages: c, d not found"


def test_what_has_no_id_is_named() -> None:
    with pytest.raises(MetricError, match=r"1\.5 has no id"):
        passage_recall(gold="support")(example("a"), {"passages": [1.5]})
