"""Tools as functions of code: their results are values, and prompts describe them."""

from __future__ import annotations

import functools
from typing import Any, Literal

import pydantic
import pytest

import lmpipe
from lmpipe.lm.concurrency.loop import run_sync
from lmpipe.modules.agents.code_tools import host_function, how_to_call


class Hit(pydantic.BaseModel):
    title: str


def hits(query: str) -> list[Hit]:
    return [Hit(title=query)]


def unannotated(query):  # type: ignore[no-untyped-def]
    return {"found": query} if query == "object" else query


def text(query: str) -> str:
    return query


def number(query: str) -> int:
    return 7


def nothing(query: str) -> None:
    return None


def perhaps(query: str) -> str | None:
    return query or None


def mixed(query: str) -> str | dict[str, str]:
    return {"found": query} if query == "object" else query


def label(query: str) -> Literal["1", "2"]:
    return "1"


class Box:
    def __call__(self, query: str) -> int:
        return 7


async def later(query: str) -> dict[str, int]:
    return {query: 1}


@pytest.mark.parametrize(
    ("function", "query", "value"),
    [
        (hits, "a", [{"title": "a"}]),
        (later, "a", {"a": 1}),
        (number, "a", 7),
        (nothing, "a", None),
        (text, "[1]", "[1]"),
        (perhaps, "12", "12"),
        (perhaps, "", None),
        (perhaps, "[1]", "[1]"),
        (mixed, "object", {"found": "object"}),
        (mixed, "12", "12"),
        (label, "a", "1"),
        (Box(), "a", 7),
        (functools.partial(number), "a", 7),
        (unannotated, "object", {"found": "object"}),
        (unannotated, "3", "3"),
        (unannotated, "[not json", "[not json"),
    ],
)
def test_a_result_is_what_the_function_returned(function: Any, query: str, value: object) -> None:
    call: Any = host_function(lmpipe.Tool.of(function, name="tool"), 100)
    assert run_sync(call(query)) == value
    assert run_sync(call(query=query)) == value


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        (("a", "b"), {}, "text takes 1 values, and 2 were given"),
        (("a",), {"query": "b"}, "text got two values for 'query'"),
    ],
)
def test_too_many_values_are_refused(
    args: tuple[str, ...], kwargs: dict[str, str], message: str
) -> None:
    call: Any = host_function(lmpipe.Tool.of(text), 100)
    with pytest.raises(TypeError, match=message):
        run_sync(call(*args, **kwargs))


def test_prompts_describe_each_function_in_a_sentence() -> None:
    def search(query: str, n: int = 3, tags: list[str] | None = None, x: float = 0.5) -> None:
        """Search the corpus.

        It has passages.
        """

    tools = [lmpipe.Tool.of(search), lmpipe.Tool.of(nothing)]
    assert how_to_call(tools) == (
        "search(query: str, n: int = …, tags: object = …, x: float = …): "
        "Search the corpus. It has passages. nothing(query: str)."
    )
