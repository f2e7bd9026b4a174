"""Demonstrations that are chosen for each call by the words of its inputs."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from helpers.retrieval import TOPICS, Order, Sort, demos, notes, order, pools
from hypothesis import given
from hypothesis import strategies as st

import lmpipe
from lmpipe.layouts import layout_named, layout_names, render_prefix
from lmpipe.modules.retrieval import NearExamples, Neighbours, Pools
from lmpipe.signatures.signature import spec_of
from lmpipe.state.program_state import Demo, Retrieval


def neighbours(pool: Sequence[Demo], k: int = 2, *, balanced: bool = False) -> Neighbours:
    retrieval = Retrieval(pool=tuple(pool), k=k, balanced=balanced)
    return Neighbours(spec_of(Sort), retrieval, layout_named("plain"))


def found(pool: Sequence[Demo], note: str, k: int = 2, *, balanced: bool = False) -> list[str]:
    chosen = neighbours(pool, k, balanced=balanced).nearest({"note": note})
    return [demo.inputs["note"] for demo in chosen]


def found_orders(pool: Sequence[Demo], **inputs: Any) -> tuple[Demo, ...]:
    retrieval = Retrieval(pool=tuple(pool), k=len(pool))
    return Neighbours(spec_of(Order), retrieval, layout_named("chat")).nearest(inputs)


# --- ranking


def test_the_nearest_one_comes_last() -> None:
    pool = demos("green tea leaves", "a parcel by ship", "green tea and cake")
    assert found(pool, "tea leaves") == ["green tea and cake", "green tea leaves"]


def test_a_rare_word_counts_more_than_a_common_one() -> None:
    pool = demos("the tea", "the parcel", "the tax", "a harbour")
    assert found(pool, "the harbour", k=1) == ["a harbour"]


def test_equally_near_demonstrations_keep_the_pools_order() -> None:
    assert found(demos("tea one", "tea two", "tea six"), "tea") == ["tea two", "tea one"]


@pytest.mark.parametrize("note", ["coffee", "", " ?! "])
def test_without_a_known_word_the_pools_order_decides(note: str) -> None:
    assert found(demos("tea", "ship", "tax"), note) == ["ship", "tea"]


@pytest.mark.parametrize("pool", [(), demos("tea"), demos(""), demos("", "?!"), demos("", "tea")])
def test_tiny_pools(pool: tuple[Demo, ...]) -> None:
    assert len(found(pool, "tea ship", k=5)) == len(pool)


@pytest.mark.parametrize(
    ("member", "note"),
    [
        ("GRÜNER Tee", "grüner"),
        ("cafe\u0301", "café"),
        ("Straße", "STRASSE"),
        ("order 4711", "4711?"),
        ("add_to_playlist", "playlist"),
        ("请问我的包裹在哪里", "包裹"),
        ("\uff11\uff12\uff13", "123"),
        ("когда придёт", "ПРИДЁТ"),
    ],
)
def test_words_match_in_any_script_and_case(member: str, note: str) -> None:
    assert found(demos("tea", "ship", member), note, k=1) == [member]


def test_all_inputs_count() -> None:
    pool = (order(text="x", day="2026-01-02"), order(text="x", day="2025-11-30"), order(text="y"))
    assert found_orders(pool, text="z", day="2025-11-29", price=0)[-1] == pool[1]


@pytest.mark.parametrize(
    ("k", "topics"),
    [
        (2, ["ship", "tea"]),
        (3, ["tax", "ship", "tea"]),
        (4, ["tax", "ship", "tea", "tea"]),
        (5, ["tax", "ship", "tea", "tea", "tea"]),
        (9, ["tax", "ship", "tea", "tea", "tea", "tea"]),
    ],
)
def test_a_balanced_choice_takes_a_share_of_each_label_first(k: int, topics: list[str]) -> None:
    pool = (
        *demos("green tea a", "green tea b", "green tea c", "green tea d"),
        *demos("green ship", topics=["ship"]),
        *demos("tax", topics=["tax"]),
    )
    chosen = neighbours(pool, k, balanced=True).nearest({"note": "green tea"})
    assert [demo.outputs["topic"] for demo in chosen] == topics


def test_balancing_has_no_effect_without_labels() -> None:
    pool = (order(text="tea"), order(text="ship"))
    for balanced in (False, True):
        retrieval = Retrieval(pool=pool, k=1, balanced=balanced)
        chooser = Neighbours(spec_of(Order), retrieval, layout_named("chat"))
        assert chooser.nearest({"text": "ship now", "day": None, "price": 0}) == (pool[1],)


# --- the call's own inputs


def test_equal_inputs_are_never_shown() -> None:
    assert found(demos("tea", "ship", "tea", "Tea"), "tea", k=9) == ["ship", "Tea"]


@pytest.mark.parametrize(
    ("member", "call"),
    [
        (order(text="tea"), {"text": "tea", "day": None, "price": 0}),
        (order(text="tea", price=2), {"text": "tea", "day": None, "price": 2.0}),
        (order(text="tea", day="2026-01-02"), {"text": "tea", "day": "2026-01-02", "price": 0.0}),
    ],
)
def test_inputs_are_compared_as_a_call_would_have_them(member: Demo, call: dict[str, Any]) -> None:
    other = order(text="ship")
    values = spec_of(Order).check_inputs(call)
    shown = {field.name: field.dump(values[field.name]) for field in spec_of(Order).inputs}
    assert found_orders((member, other), **shown) == (other,)


def test_a_demonstration_with_invalid_inputs_is_shown() -> None:
    odd = Demo(inputs={"note": [1]}, outputs={"topic": "tea"})
    bare = Demo(inputs={}, outputs={"topic": "tea"})
    assert set(neighbours((odd, bare)).nearest({"note": "x"})) == {odd, bare}


@given(pools, st.integers(1, 15), st.booleans(), notes)
def test_k_demonstrations_are_shown_but_never_the_calls_own(
    pool: tuple[Demo, ...], k: int, balanced: bool, note: str
) -> None:
    others = [demo for demo in pool if demo.inputs["note"] != note]
    chosen = found(pool, note, k, balanced=balanced)
    assert len(chosen) == min(k, len(others))
    assert note not in chosen


@given(pools, st.integers(1, 5), st.booleans(), st.lists(notes, min_size=1, max_size=6), st.data())
def test_the_choice_depends_only_on_the_inputs(
    pool: tuple[Demo, ...], k: int, balanced: bool, asked: list[str], data: st.DataObject
) -> None:
    shared = neighbours(pool, k, balanced=balanced)
    expected = {
        note: neighbours(pool, k, balanced=balanced).nearest({"note": note}) for note in asked
    }
    for note in data.draw(st.permutations(asked)):
        assert shared.nearest({"note": note}) == expected[note]


def test_threads_may_query_at_once() -> None:
    pool = demos(*(f"{word} {number}" for number in range(40) for word in ("tea", "ship")))
    shared = neighbours(pool, 5)
    asked = [{"note": f"{word} {number}"} for number in range(50) for word in ("tea", "tax")]
    expected = [neighbours(pool, 5).turns(inputs) for inputs in asked]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(shared.turns, asked)) == expected


# --- turns


@pytest.mark.parametrize("layout", layout_names())
def test_turns_look_like_those_of_fixed_demonstrations(layout: str) -> None:
    spec, pool = spec_of(Sort), demos("green tea", "a ship", "black tea")
    chooser = Neighbours(spec, Retrieval(pool=pool, k=2), layout_named(layout))
    for note in ("tea", "ship", "tea"):
        chosen = chooser.nearest({"note": note})
        rendered = render_prefix(layout_named(layout), spec, "", chosen)
        assert chooser.turns({"note": note}) == rendered[1:]


def test_states_share_an_indexed_pool() -> None:
    shared = Pools(spec_of(Sort))
    pool = demos("green tea", "a ship", "black tea", topics=TOPICS)
    for layout in layout_names():
        for k, balanced in ((1, False), (2, False), (2, True)):
            retrieval = Retrieval(pool=pool, k=k, balanced=balanced)
            alone = Neighbours(spec_of(Sort), retrieval, layout_named(layout))
            chooser = shared.neighbours(retrieval, layout_named(layout))
            assert chooser.turns({"note": "tea"}) == alone.turns({"note": "tea"})


def test_more_pools_than_are_cached_can_be_used() -> None:
    shared = Pools(spec_of(Sort))
    for number in [*range(20), *range(20)]:
        retrieval = Retrieval(pool=demos(f"tea {number}"), k=1)
        (chosen,) = shared.neighbours(retrieval, layout_named("chat")).nearest({"note": "tea"})
        assert chosen.inputs["note"] == f"tea {number}"


# --- examples


def rows(*notes: str) -> list[lmpipe.Example]:
    return [lmpipe.Example(note=note, topic="tea").with_inputs("note") for note in notes]


def near(examples: Sequence[lmpipe.Example], note: str, count: int) -> list[str]:
    (asked,) = rows(note)
    return [example.note for example in NearExamples(examples).nearest(asked, count)]


def test_the_nearest_example_comes_first() -> None:
    examples = rows("a parcel by ship", "green tea and cake", "green tea leaves")
    assert near(examples, "tea leaves", 2) == ["green tea leaves", "green tea and cake"]


def test_examples_with_the_same_inputs_are_left_out() -> None:
    assert near(rows("tea", "ship", "tea"), "tea", 3) == ["ship"]


def test_labels_do_not_count_towards_nearness() -> None:
    examples = [
        lmpipe.Example(note=note, topic=topic).with_inputs("note")
        for note, topic in (("a parcel", "ship"), ("a leaf", "tea"))
    ]
    assert near(examples, "tea", 1) == ["a parcel"]


def test_queries_do_not_change_the_index() -> None:
    examples = rows("green tea", "black tea", "a ship", "a tax on tea")
    shared = NearExamples(examples)
    for asked in [*examples, *examples]:
        assert shared.nearest(asked, 3) == NearExamples(examples).nearest(asked, 3)
