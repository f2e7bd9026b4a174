"""Detecting overfitted results, and the warning for them."""

from __future__ import annotations

import lmpipe
from lmpipe.evaluation.overfitting import find_overfitting
from lmpipe.evaluation.results import Evaluation, Row
from lmpipe.metrics import Score
from lmpipe.state.trace import Trace


def scored(right: int, of: int) -> Evaluation:
    example = lmpipe.Example(x=1)
    return Evaluation(
        tuple(
            Row(n, example, None, Score(float(n < right)), None, Trace(()), (), 0.0)
            for n in range(of)
        )
    )


def test_a_clear_gap_between_train_and_test_is_reported_with_numbers_and_a_remedy() -> None:
    found = find_overfitting(
        {"train": scored(32, 32), "validation": scored(28, 40), "test": scored(60, 100)}
    )
    assert found is not None
    assert "100.0% on 32 train examples but 60.0% on 100 test examples" in found.sentence
    assert "more training examples" in found.sentence
    assert found.to_json()["interval"][0] > 0


def test_a_gap_between_validation_and_test_suggests_more_validation_examples() -> None:
    found = find_overfitting({"train": None, "validation": scored(39, 40), "test": scored(60, 99)})
    assert found is not None
    assert (found.seen, found.unseen) == ("validation", "test")
    assert "more validation examples" in found.sentence


def test_without_a_test_set_train_is_compared_with_validation() -> None:
    found = find_overfitting({"train": scored(32, 32), "validation": scored(10, 40), "test": None})
    assert found is not None
    assert (found.seen, found.unseen) == ("train", "validation")


def test_a_gap_that_chance_explains_is_not_reported() -> None:
    assert find_overfitting({"train": scored(9, 10), "test": scored(7, 10)}) is None


def test_a_better_test_score_is_not_overfitting() -> None:
    assert find_overfitting({"train": scored(10, 40), "test": scored(40, 40)}) is None
