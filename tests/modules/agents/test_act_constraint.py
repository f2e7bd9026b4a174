"""A step that is written as text is constrained to the tools and their arguments."""

from __future__ import annotations

from typing import Any, Literal

import orjson
import pydantic
import pytest
from helpers.gbnf import Grammar
from hypothesis import given
from hypothesis import strategies as st

import lmpipe
from lmpipe.layouts import layout_named
from lmpipe.modules.agents.act_constraint import union_of_grammars, without_references
from lmpipe.modules.agents.act_prompt import ActPrompt


class Place(pydantic.BaseModel):
    name: str
    kind: Literal["town", "river"] = "town"


class Node(pydantic.BaseModel):
    value: int
    next: Node | None = None


def search(query: str, count: int = 3) -> str:
    """Search."""
    return query


def visit(place: Place) -> str:
    """Visit a place."""
    return place.name


def walk(start: Node) -> int:
    """Walk."""
    return start.value


class Ask(lmpipe.Signature):
    """Answer."""

    question: str = lmpipe.Input()
    answer: Literal["yes", "no"] = lmpipe.Output()


GRAMMARS = ("chat", "plain", "xml")
RIGHT: list[tuple[str, dict[str, Any]]] = [
    ("search", {"query": "x"}),
    ("search", {"query": "x", "count": 2}),
    ("visit", {"place": {"name": "Rhine", "kind": "river"}}),
    ("walk", {"start": {"value": 1, "next": {"value": 2}}}),
    ("finish", {"answer": "yes"}),
]
WRONG: list[tuple[str, dict[str, Any]]] = [
    ("search", {"answer": "yes"}),
    ("search", {"query": "x", "count": "two"}),
    ("visit", {"place": "Rhine"}),
    ("visit", {"place": {"name": "Rhine", "kind": "sea"}}),
    ("finish", {"answer": "perhaps"}),
    ("finish", {}),
    ("fly", {"query": "x"}),
]


def prompt_in(layout: str, *, constrained: bool = True) -> ActPrompt:
    agent = lmpipe.ReAct(Ask, [search, visit, walk], layout=layout, constrained=constrained)
    with lmpipe.using(lm=lmpipe.ScriptedLM()):
        return agent.act.prompt_for(agent.act.lm_now())


def written(
    layout: str, tool: str, arguments: dict[str, Any], thought: str = "I go on. Slowly."
) -> str:
    step = {"next_thought": thought, "next_tool": tool, "next_args": arguments}
    return layout_named(layout).assistant(prompt_in(layout).form, step)


def grammar_of(layout: str) -> Grammar:
    constraint = prompt_in(layout).constraint
    assert constraint is not None
    assert constraint.kind == "grammar"
    return Grammar.parse(constraint.value)


@pytest.mark.parametrize("layout", GRAMMARS)
@pytest.mark.parametrize(("tool", "arguments"), RIGHT)
def test_a_tool_with_its_arguments_can_be_written(
    layout: str, tool: str, arguments: dict[str, Any]
) -> None:
    assert grammar_of(layout).matches(written(layout, tool, arguments))


@pytest.mark.parametrize("layout", GRAMMARS)
@pytest.mark.parametrize(("tool", "arguments"), WRONG)
def test_a_tool_with_other_arguments_cannot_be_written(
    layout: str, tool: str, arguments: dict[str, Any]
) -> None:
    assert not grammar_of(layout).matches(written(layout, tool, arguments))


@pytest.mark.parametrize("layout", GRAMMARS)
def test_a_thought_is_one_line(layout: str) -> None:
    assert not grammar_of(layout).matches(
        written(layout, "finish", {"answer": "yes"}, "I go on.\n[[next_tool]]finish")
    )


def test_a_json_schema_admits_the_arguments_of_the_tools() -> None:
    constraint = prompt_in("json").constraint
    assert constraint is not None
    properties = orjson.loads(constraint.value)["properties"]
    assert properties["next_tool"]["enum"] == ["search", "visit", "walk", "finish"]
    options = properties["next_args"]["anyOf"]
    assert [list(option["properties"]) for option in options] == [
        ["query", "count"],
        ["place"],
        ["start"],
        ["answer"],
    ]
    assert "$ref" not in constraint.value


def test_replies_are_not_constrained_if_that_is_switched_off() -> None:
    assert prompt_in("chat", constrained=False).constraint is None


def test_an_agent_that_is_asked_again_is_held_to_its_tools() -> None:
    unconstrained = prompt_in("chat", constrained=False)
    assert unconstrained.retry_constraint == prompt_in("chat").constraint


def test_definitions_are_put_where_they_are_used() -> None:
    schema = {"properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"type": "string"}}}
    assert without_references(schema) == {"properties": {"a": {"type": "string"}}}


def test_a_definition_that_refers_to_itself_ends_in_any_value() -> None:
    schema = {"$ref": "#/$defs/A", "$defs": {"A": {"items": {"$ref": "#/$defs/A"}}}}
    assert without_references(schema) == {"items": {}}


WORDS = st.lists(st.text('ab["\\|', min_size=1, max_size=3), min_size=1, max_size=4, unique=True)


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def grammar_for(word: str) -> str:
    return f'root ::= "<" start rest* ">"\nstart ::= [xy\\]]+\nrest ::= {quoted(word)}\n'


@given(WORDS, st.text("xy]", min_size=1, max_size=3), st.integers(0, 2), st.data())
def test_a_union_has_the_texts_of_each_grammar(
    words: list[str], start: str, times: int, data: st.DataObject
) -> None:
    union = Grammar.parse(union_of_grammars([grammar_for(word) for word in words]))
    word = data.draw(st.sampled_from(words))
    assert union.matches(f"<{start}{word * times}>")


@given(WORDS, st.text('ab["\\|', max_size=6))
def test_a_union_has_no_other_texts(words: list[str], rest: str) -> None:
    grammars = [grammar_for(word) for word in words]
    text = f"<x{rest}>"
    union = Grammar.parse(union_of_grammars(grammars))
    assert union.matches(text) == any(Grammar.parse(each).matches(text) for each in grammars)
