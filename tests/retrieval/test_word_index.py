"""`WordIndex` scores by the formula of BM25."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.retrieval.word_index import WordIndex, words_in

K1, B = 1.5, 0.75
documents = st.lists(st.lists(st.sampled_from("abcd"), max_size=6), min_size=1, max_size=8)


def score(query: list[str], document: list[str], corpus: list[list[str]]) -> float:
    """Robertson and Zaragoza 2009, equation 3.15, with the weights of Lucene."""
    average = sum(map(len, corpus)) / len(corpus)
    counts, total = Counter(document), 0.0
    for word in query:
        having = sum(word in one for one in corpus)
        if word not in counts:
            continue
        weight = math.log(1 + (len(corpus) - having + 0.5) / (having + 0.5))
        length = K1 * (1 - B + B * len(document) / average)
        total += weight * counts[word] / (counts[word] + length)
    return total


@given(documents, st.lists(st.sampled_from("abcde"), max_size=4), st.integers(1, 9))
def test_the_best_are_those_of_the_formula_equal_ones_in_order(
    corpus: list[list[str]], query: list[str], count: int
) -> None:
    places, scores = WordIndex.of(corpus, k1=K1, b=B).best(query, count)
    expected = [round(score(query, document, corpus), 6) for document in corpus]
    assert scores == pytest.approx([expected[place] for place in places], abs=2e-6)
    assert sorted(scores, reverse=True) == scores
    assert len(places) == min(count, len(corpus)) == len(set(places))
    left_out = [expected[place] for place in range(len(corpus)) if place not in places]
    assert max(left_out, default=0) <= min(scores) + 2e-6


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The TIBER, 405 km!", ["the", "tiber", "405", "km"]),
        ("\uff32ome", ["rome"]),
        ("\u6771\u4eac", ["\u6771", "\u4eac"]),
        ("a_b", ["a", "b"]),
        (" … ", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert words_in(text) == words
