"""JSON in text: found by one scan, whatever else the text holds."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.layouts.find_json import find_json
from lmpipe.layouts.repair_json import repair_json

containers = st.recursive(
    st.text(max_size=5) | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
).filter(lambda value: isinstance(value, dict | list))


@given(containers, st.text("abc .:,'\n"), st.text("abc .:,'\n"))
def test_json_is_found_between_prose(value: Any, before: str, after: str) -> None:
    assert find_json(before + json.dumps(value) + after).values == (value,)


@given(st.lists(containers, min_size=2, max_size=3))
def test_several_values_are_found_in_order(values: list[Any]) -> None:
    assert find_json(" and ".join(map(json.dumps, values))).values == tuple(values)


@given(containers.filter(bool), st.data())
def test_nothing_of_a_value_that_was_cut_is_found(value: Any, data: st.DataObject) -> None:
    text = json.dumps({"all": value, "end": "x"})
    cut = data.draw(st.integers(1, len(text) - 1))
    found = find_json(text[:cut])
    assert found.values == () == tuple(filter(None, map(repair_json, found.broken)))


@given(st.text() | st.text('{}[]",:a1\\` \n'))
def test_any_text_can_be_searched(text: str) -> None:
    found = find_json(text)
    for part in found.broken:
        repair_json(part)


@pytest.mark.parametrize(
    "text",
    [
        "{" * 200_000,
        "[" * 200_000,
        '{"a":' * 50_000,
        "{" * 50_000 + "}" * 50_000,
        '{"' * 50_000,
        "[1," * 30_000 + "]" * 30_000,
        "{a:" * 30_000 + "}" * 30_000,
        "{x}" * 50_000,
        '"{' * 50_000 + "}" * 50_000,
        "```" + " " * 200_000,
        "{" + "a" * 200_000,
        "\\" * 200_000,
    ],
)
def test_long_texts_are_searched_in_linear_time(text: str) -> None:
    found = find_json(text)  # would take minutes in quadratic time
    assert found.values == ()


def test_of_very_many_values_only_the_first_are_looked_at() -> None:
    assert len(find_json("{} " * 5000).values) == 1000
