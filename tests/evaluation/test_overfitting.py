"""When a result looks overfitted, and how it is said."""

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


def test_a_clear_gap_between_train_and_test_is_said_with_numbers_and_a_remedy() -> None:
    found = find_overfitting(
        {"train": scored(32, 32), "validation": scored(28, 40), "test": scored(60, 100)}
    )
    assert found is not None
    assert "100.0% on 32 train examples but 60.0% on 100 test examples" in found.sentence
    assert "more training examples" in found.sentence
    assert found.to_json()["interval"][0] > 0


def test_a_validation_score_that_test_does_not_hold_up_asks_for_more_validation() -> None:
    found = find_overfitting({"train": None, "validation": scored(39, 40), "test": scored(60, 99)})
    assert found is not None
    assert (found.seen, found.unseen) == ("validation", "test")
    assert "more validation examples" in found.sentence


def test_without_a_test_train_is_compared_with_validation() -> None:
    found = find_overfitting({"train": scored(32, 32), "validation": scored(10, 40), "test": None})
    assert found is not None
    assert (found.seen, found.unseen) == ("train", "validation")


def test_a_gap_that_chance_explains_is_none() -> None:
    assert find_overfitting({"train": scored(9, 10), "test": scored(7, 10)}) is None


def test_a_better_test_is_no_overfitting() -> None:
    assert find_overfitting({"train": scored(10, 40), "test": scored(40, 40)}) is None
