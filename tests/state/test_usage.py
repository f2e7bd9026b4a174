"""Token counts of servers: what is no count is unknown, never negative."""

from __future__ import annotations

from typing import Any

import pytest

from lmpipe.state.usage import Usage


def test_counts_are_read() -> None:
    details = {"cached_tokens": 3}
    value = {"prompt_tokens": 5, "completion_tokens": 2.0, "prompt_tokens_details": details}
    assert Usage.from_openai(value) == Usage(5, 2, 3)


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
