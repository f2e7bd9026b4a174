"""The order in which the first few items represent all."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.embeddings import vectors_of

from lmpipe.optimize.shared.spread_order import similar_vectors, similar_words, spread_order

TEXTS = [
    "the parcel is late",
    "the parcel is lost",
    "the parcel is wet",
    "my invoice is wrong",
    "my invoice was paid twice",
    "password",
]


def groups(order: list[int]) -> list[str]:
    return ["parcel" if n < 3 else "invoice" if n < 5 else "password" for n in order]


def test_the_first_ones_are_of_all_groups_the_largest_first() -> None:
    order = spread_order(similar_words(TEXTS))
    assert groups(order[:3]) == ["parcel", "invoice", "password"]


def test_every_item_is_in_the_order_once() -> None:
    assert sorted(spread_order(similar_words(TEXTS * 2))) == list(range(12))


def test_a_copy_adds_nothing_and_comes_last() -> None:
    order = spread_order(similar_words([TEXTS[0], *TEXTS]))
    assert {order[-1], *order[:-1]} == set(range(7))
    assert order[-1] in (0, 1)


@pytest.mark.parametrize("seed", range(5))
def test_each_next_item_raises_the_represented_sum_most(seed: int) -> None:
    similar = np.random.default_rng(seed).integers(0, 1000, (12, 12))
    order = spread_order(similar)
    for count in range(1, 12):
        sums = [int(similar[[*order[:count], place]].max(axis=0).sum()) for place in order[count:]]
        assert sums[0] == max(sums)


def test_equal_items_keep_their_order() -> None:
    assert spread_order(np.full((4, 4), 7)) == [0, 1, 2, 3]


def test_texts_without_words_represent_themselves_only() -> None:
    assert similar_words(["?", "!", "word"]).tolist() == (np.eye(3) * 1_000_000).tolist()


def test_nothing_has_an_order() -> None:
    assert spread_order(similar_words([])) == []


def test_a_text_represents_another_one_by_the_words_of_that_one() -> None:
    similar = similar_words(["red", "red and green", "blue"])
    assert similar[1, 0] > similar[0, 1] > similar[2, 0] == 0


def test_vectors_are_compared_by_their_cosines() -> None:
    texts = ["one", "two", "three"]
    vectors = vectors_of(texts)
    similar = similar_vectors(vectors)
    assert similar.tolist() == similar.T.tolist()
    assert similar.diagonal() == pytest.approx(1_000_000, rel=1e-3)
    assert (similar >= 0).all()
