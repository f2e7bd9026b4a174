"""Replies in memory: the least recently used are dropped first."""

from __future__ import annotations

from typing import Any

import pytest

from lmpipe.lm.cache.memory import ReplyMemory
from lmpipe.lm.parts import ToolCall
from lmpipe.lm.request import Reply

BIG = Reply("x" * 100_000)


def test_an_added_reply_is_found() -> None:
    memory = ReplyMemory(2**20)
    memory.add("a", BIG)
    assert memory.get("a") is BIG
    assert memory.get("b") is None


def test_the_least_recently_used_reply_is_dropped_first() -> None:
    memory = ReplyMemory(250_000)
    memory.add("a", BIG)
    memory.add("b", BIG)
    memory.get("a")
    memory.add("c", BIG)
    assert [key for key in "abc" if memory.get(key)] == ["a", "c"]


def test_a_replaced_reply_counts_once() -> None:
    memory = ReplyMemory(250_000)
    for _ in range(10):
        memory.add("a", BIG)
    memory.add("b", BIG)
    assert memory.get("a") is memory.get("b") is BIG


def test_a_reply_above_the_limit_is_not_kept() -> None:
    memory = ReplyMemory(1000)
    memory.add("a", BIG)
    assert memory.get("a") is None


@pytest.mark.parametrize(
    "beside",
    [
        {"reasoning": "x" * 100_000},
        {"tool_calls": (ToolCall("1", "f", "x" * 100_000),)},
        {"logprobs": ({"token": "x", "top_logprobs": [{}] * 1000},)},
    ],
)
def test_what_a_reply_has_beside_its_text_counts(beside: dict[str, Any]) -> None:
    memory = ReplyMemory(100_000)
    memory.add("a", Reply("x", **beside))
    assert memory.get("a") is None
