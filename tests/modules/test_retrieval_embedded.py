"""Demonstrations that are chosen by embeddings of their inputs."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.embeddings import by_embeddings, decode_vector, vector_of, vectors_of
from helpers.retrieval import TOPICS, Order, Sort, demos, notes, order, pools
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.foundation.vectors import encode_vector, join_vectors
from lmpipe.layouts import layout_named
from lmpipe.lm.scripted import ScriptedLM
from lmpipe.modules.retrieval import Neighbours, Pools, demo_text, inputs_text
from lmpipe.signatures.signature import spec_of
from lmpipe.state.program_state import Demo, Retrieval

ANGLES = {"tea": (1.0, 0.0), "cup": (0.8, 0.6), "ship": (0.0, 1.0), "far": (-1.0, 0.0)}
COMPASS = ScriptedLM(name="compass", vectors=lambda text: ANGLES[text])


def found(pool: tuple[Demo, ...], note: str, k: int = 2, **options: Any) -> list[str]:
    embedder = options.pop("embedder", None)
    retrieval = by_embeddings(pool, "note", k=k, embedder=embedder, **options)
    chooser = Neighbours(spec_of(Sort), retrieval, layout_named("plain"))
    chosen = chooser.nearest({"note": note}, vector_of(note, embedder))
    return [demo.inputs["note"] for demo in chosen]


def test_the_nearest_by_cosine_comes_last() -> None:
    pool = demos("far", "ship", "tea")
    assert found(pool, "cup", k=3, embedder=COMPASS) == ["far", "ship", "tea"]


def test_equally_near_demonstrations_keep_the_pools_order() -> None:
    assert found(demos("tea one", "tea two", "tea six"), "tea") == ["tea two", "tea one"]


def test_equal_inputs_are_never_shown() -> None:
    assert found(demos("tea", "ship", "tea", "Tea"), "tea", k=9) == ["ship", "Tea"]


def test_a_balanced_choice_takes_a_share_of_each_label_first() -> None:
    pool = (
        *demos("green tea a", "green tea b", "green tea c"),
        *demos("green ship", topics=["ship"]),
        *demos("tax", topics=["tax"]),
    )
    assert found(pool, "green tea", 3, balanced=True) == ["tax", "green ship", "green tea a"]


@given(pools, st.integers(1, 15), st.booleans(), notes)
def test_k_demonstrations_are_shown_but_never_the_calls_own(
    pool: tuple[Demo, ...], k: int, balanced: bool, note: str
) -> None:
    others = [demo for demo in pool if demo.inputs["note"] != note]
    chosen = found(pool, note, k, balanced=balanced)
    assert len(chosen) == min(k, len(others))
    assert note not in chosen


@given(st.lists(st.lists(st.floats(-1, 1), min_size=3, max_size=3), min_size=1, max_size=20))
def test_the_choice_is_the_same_as_a_plain_sort_by_cosine(rows: list[list[float]]) -> None:
    pool = demos(*(f"note {number}" for number in range(len(rows))))
    spelled = [encode_vector(row) for row in rows]
    vectors = vectors_of([]).model_copy(
        update={"dimension": 3, "data": join_vectors(spelled)},
    )
    chooser = Neighbours(
        spec_of(Sort), Retrieval(pool=pool, k=4, vectors=vectors), layout_named("plain")
    )
    asked = decode_vector(spelled[0])

    def cosine(place: int) -> float:
        pairs = zip(asked, decode_vector(spelled[place]), strict=True)
        return sum(a * b for a, b in pairs)

    expected = sorted(range(len(rows)), key=lambda place: (-cosine(place), place))[:4]
    assert chooser.nearest({"note": "?"}, spelled[0])[::-1] == tuple(pool[n] for n in expected)


def test_an_empty_pool() -> None:
    assert found((), "tea") == []


def test_a_demonstration_is_embedded_as_the_same_text_as_a_call() -> None:
    member = order(text="tea", day="2026-01-02")
    call = {"text": "tea", "day": "2026-01-02", "price": 0.0}
    assert demo_text(spec_of(Order), member) == inputs_text(spec_of(Order), call)
    assert "2026-01-02" in demo_text(spec_of(Order), member)


def test_pools_with_and_without_vectors_are_indexed_separately() -> None:
    shared = Pools(spec_of(Sort))
    pool = demos("green tea", "a ship", "black tea", topics=TOPICS)
    by_words = Retrieval(pool=pool, k=1)
    embedded = by_embeddings(pool, "note", k=1)
    for retrieval in (by_words, embedded, by_words):
        chooser = shared.neighbours(retrieval, layout_named("chat"))
        vector = vector_of("a ship too") if retrieval.vectors else None
        (chosen,) = chooser.nearest({"note": "a ship too"}, vector)
        assert chosen == pool[1]


@pytest.mark.parametrize("layout", ["chat", "plain", "json"])
def test_turns_show_the_nearest_demonstrations(layout: str) -> None:
    pool = demos("green tea", "a ship", "black tea")
    chooser = Neighbours(spec_of(Sort), by_embeddings(pool, "note", k=2), layout_named(layout))
    turns = chooser.turns({"note": "tea"}, vector_of("tea"))
    chosen = chooser.nearest({"note": "tea"}, vector_of("tea"))
    shown = [turn.content for turn in turns if turn.role == "user"]
    assert len(shown) == 2
    assert all(demo.inputs["note"] in text for demo, text in zip(chosen, shown, strict=True))
