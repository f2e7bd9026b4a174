"""The rules of racing: blocks, who is dropped after each, and the order of the examples."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.errors import RecipeError
from lmpipe.optimize.engine.race_rules import Knockout, Racing, informative_first

SCORES = st.lists(st.floats(0, 1), min_size=2, max_size=30)


@given(size=st.integers(1, 500), block=st.none() | st.integers(2, 60))
def test_blocks_are_the_whole_order_cut_into_parts(size: int, block: int | None) -> None:
    order = list(range(size))
    blocks = Racing(block=block).blocks(order)
    assert [index for part in blocks for index in part] == order
    assert all(blocks)


@given(size=st.integers(16, 500))
def test_blocks_have_about_equal_sizes(size: int) -> None:
    sizes = {len(part) for part in Racing().blocks(range(size))}
    assert max(sizes) - min(sizes) <= 1
    assert 5 <= min(sizes) <= max(sizes) <= 40


@given(scores=SCORES)
def test_equal_candidates_all_survive(scores: list[float]) -> None:
    assert Racing().survivors({"a": scores, "b": scores}, looks=4) == ["a", "b"]


@given(first=SCORES, data=st.data())
def test_the_leader_always_survives(first: list[float], data: st.DataObject) -> None:
    same = st.lists(st.floats(0, 1), min_size=len(first), max_size=len(first))
    scores = {"a": first, "b": data.draw(same), "c": data.draw(same)}
    leader = max(scores, key=lambda key: sum(scores[key]))
    assert leader in Racing().survivors(scores, looks=3)


def test_a_candidate_far_behind_is_dropped() -> None:
    scores = {"good": [1.0] * 12, "bad": [0.0] * 10 + [1.0] * 2}
    assert Racing().survivors(scores, looks=4) == ["good"]


def test_a_candidate_slightly_behind_is_not_dropped() -> None:
    scores = {"good": [1.0] * 12, "near": [1.0] * 11 + [0.0]}
    assert Racing().survivors(scores, looks=4) == ["good", "near"]


def test_with_more_looks_fewer_candidates_are_dropped() -> None:
    scores = {"good": [1.0] * 12, "behind": [1.0] * 8 + [0.0] * 4}
    assert Racing().survivors(scores, looks=1) == ["good"]
    assert Racing().survivors(scores, looks=40) == ["good", "behind"]


def test_uninformative_examples_come_last() -> None:
    scored = [{0: 1.0, 1: 0.0, 2: 0.0}, {0: 1.0, 1: 1.0, 2: 0.0}, {0: 1.0, 1: 0.0, 2: 0.0}]
    assert informative_first([2, 0, 1, 3], scored) == [1, 3, 2, 0]


def test_equal_scores_of_two_candidates_do_not_make_an_example_uninformative() -> None:
    assert informative_first([0, 1], [{0: 1.0, 1: 0.0}, {0: 1.0, 1: 1.0}]) == [0, 1]


@pytest.mark.parametrize("settings", [{"risk": 0.0}, {"risk": 0.5}, {"block": 1}])
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        Racing(**settings)


# --- knockout


@given(size=st.integers(1, 500))
def test_the_blocks_of_a_knockout_double_what_was_seen(size: int) -> None:
    blocks = Knockout().blocks(range(size))
    assert [index for part in blocks for index in part] == list(range(size))
    assert len(blocks[0]) == min(8, size)
    seen = len(blocks[0])
    for block in blocks[1:-1]:
        assert len(block) == seen
        seen += len(block)


def test_of_a_knockout_the_better_half_stays() -> None:
    rows = {"best": 2, "a": 3, "b": 5, "c": 4, "d": 1}
    scores = {name: [1.0] * right + [0.0] * (8 - right) for name, right in rows.items()}
    assert Knockout().survivors(scores, looks=3) == ["best", "b", "c"]


def test_of_a_knockout_a_candidate_that_changes_nothing_does_not_stay() -> None:
    scores = {"best": [1.0, 0.0] * 4, "same": [1.0, 0.0] * 4, "other": [0.0, 1.0] * 4}
    assert Knockout().survivors(scores, looks=3) == ["best", "other"]


def test_of_a_knockout_a_single_candidate_that_may_be_better_stays() -> None:
    scores = {"best": [1.0, 0.0] * 4, "near": [1.0, 0.0] * 3 + [0.0, 0.0]}
    assert Knockout().survivors(scores, looks=3) == ["best", "near"]


def test_of_a_knockout_only_what_is_ahead_stays_after_the_second_block() -> None:
    scores = {"best": [1.0, 0.0] * 8, "equal": [0.0, 1.0] * 8, "ahead": [0.0, 1.0] * 7 + [1.0] * 2}
    assert Knockout().survivors(scores, looks=3) == ["best", "ahead"]
