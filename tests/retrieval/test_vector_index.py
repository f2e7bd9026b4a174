"""`VectorIndex` finds what comparing all vectors exactly finds."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.foundation.vectors import encode_vector, join_vectors
from lmpipe.retrieval.vector_index import VectorIndex, halves_of

numbers = st.integers(-3, 3).map(float)
vectors = st.lists(numbers, min_size=3, max_size=3)


def rows_of(some: list[list[float]]) -> np.ndarray:
    return halves_of(join_vectors(map(encode_vector, some))).reshape(len(some), -1)


def exact(one: np.ndarray, other: np.ndarray) -> Fraction:
    pairs = zip(one.tolist(), other.tolist(), strict=True)
    return sum((Fraction(a) * Fraction(b) for a, b in pairs), Fraction(0))


@given(st.lists(vectors, min_size=1, max_size=12), vectors, st.integers(1, 13), st.data())
def test_the_best_are_those_of_exact_products_equal_ones_in_order(
    some: list[list[float]], query: list[float], count: int, data: st.DataObject
) -> None:
    rows, vector = rows_of(some), rows_of([query])[0]
    without = data.draw(st.sets(st.integers(0, len(some) - 1)))
    places, scores = VectorIndex(rows).best(vector, count, sorted(without))
    products = [exact(row, vector) for row in rows]
    allowed = [place for place in range(len(some)) if place not in without]
    assert places == sorted(allowed, key=lambda place: -products[place])[:count]
    assert scores == [float(products[place]) for place in places]


def test_many_vectors_that_single_floats_cannot_tell_apart_are_ranked_exactly() -> None:
    random = np.random.default_rng(0)
    base = random.normal(size=512)
    some = [(base + random.normal(size=512) * 1e-4).tolist() for _ in range(200)]
    rows, vector = rows_of(some), rows_of([base.tolist()])[0]
    places, _ = VectorIndex(rows).best(vector, 10)
    products = [exact(row, vector) for row in rows]
    assert places == sorted(range(200), key=lambda place: -products[place])[:10]
