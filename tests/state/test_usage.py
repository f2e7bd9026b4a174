"""Token counts of servers: what is no count is unknown, never negative."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.state.usage import Usage


def test_counts_are_read() -> None:
    details = {"cached_tokens": 3}
    value = {"prompt_tokens": 5, "completion_tokens": 2.0, "prompt_tokens_details": details}
    assert Usage.from_openai(value) == Usage(5, 2, 3)


def test_thinking_tokens_are_read() -> None:
    value = {"completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 3}}
    assert Usage.from_openai(value) == Usage(0, 5, reasoning_tokens=3)


@pytest.mark.parametrize(
    "value",
    [
        {"cache_creation_input_tokens": 7},
        {"prompt_tokens_details": {"cache_creation_tokens": 7}},
        {"prompt_tokens_details": {"cache_write_tokens": 7}},
    ],
)
def test_tokens_that_were_written_to_the_cache_are_read(value: dict[str, Any]) -> None:
    assert Usage.from_openai(value) == Usage(cache_write_tokens=7)


def test_counts_that_few_servers_report_are_left_out_of_the_json() -> None:
    counts = {"prompt_tokens": 5, "completion_tokens": 2, "cached_prompt_tokens": 3}
    assert Usage(5, 2, 3).to_json() == counts


@given(st.builds(Usage, *[st.integers(0, 2**53)] * 5))
def test_a_usage_is_read_back_from_its_json(usage: Usage) -> None:
    assert Usage.from_json(usage.to_json()) == usage


@given(st.builds(Usage, *[st.integers(0, 99)] * 5), st.builds(Usage, *[st.integers(0, 99)] * 5))
def test_a_sum_has_the_sum_of_each_count(one: Usage, other: Usage) -> None:
    for field in dataclasses.fields(Usage):
        wanted = getattr(one, field.name) + getattr(other, field.name)
        assert getattr(one + other, field.name) == wanted


@pytest.mark.parametrize("value", [{"prompt_tokens": -1}, {"prompt_tokens": 1.5}, {"tokens": 1}])
def test_a_stored_usage_in_another_form_is_refused(value: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not a usage"):
        Usage.from_json(value)


@pytest.mark.parametrize("wrong", [-1, -(10**30), 10**30, float("nan"), float("inf"), "12", [], {}])
def test_what_is_no_number_of_tokens_is_unknown(wrong: Any) -> None:
    value = {
        "prompt_tokens": wrong,
        "completion_tokens": wrong,
        "prompt_tokens_details": {"cached_tokens": wrong},
    }
    assert Usage.from_openai(value) == Usage()


@pytest.mark.parametrize("details", [[], [{"cached_tokens": 3}], "x", 5, None])
def test_details_in_another_form_are_unread(details: Any) -> None:
    value = {"prompt_tokens": 5, "prompt_tokens_details": details}
    assert Usage.from_openai(value) == Usage(5)


@pytest.mark.parametrize("value", [None, [], "x", 5])
def test_usage_in_another_form_is_unknown(value: Any) -> None:
    assert Usage.from_openai(value) == Usage()
