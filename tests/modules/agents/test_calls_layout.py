"""`CallsLayout` reads what it writes, and what LMs send in place of native calls."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lmpipe
from lmpipe.foundation.exact_json import dump_json
from lmpipe.layouts import LayoutError, layout_named
from lmpipe.lm.parts import ToolCall, ToolResult
from lmpipe.lm.request import Reply
from lmpipe.modules.agents.act_signature import act_signature, written_form
from lmpipe.modules.agents.calls_layout import CallsLayout
from lmpipe.signatures.signature import spec_of

TASK = lmpipe.Predict("question -> answer").spec
FORM = written_form(spec_of(act_signature(TASK, ["search", "read"])), native=True)
LAYOUT = CallsLayout(layout_named("chat"), ("search", "read", "finish"))

TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS
ARGUMENTS = st.dictionaries(TEXTS, SCALARS | st.lists(SCALARS, max_size=3), max_size=3)
CALLS = st.lists(st.tuples(st.sampled_from(LAYOUT.names), ARGUMENTS), min_size=1, max_size=3)


def replied(thought: str, calls: list[tuple[str, dict[str, Any]]]) -> Reply:
    made = [ToolCall("1", name, dump_json(given).decode()) for name, given in calls]
    return Reply(thought, tool_calls=tuple(made))


@given(TEXTS, CALLS)
def test_native_calls_are_read(thought: str, calls: list[tuple[str, dict[str, Any]]]) -> None:
    values = LAYOUT.read(FORM, LAYOUT.answer(replied(thought, calls))).values
    assert values["next_thought"] == thought.strip()
    assert (values["next_tool"], values["next_args"]) == calls[0]
    assert [(call["name"], call["arguments"]) for call in values["more_calls"]] == calls[1:]


@given(TEXTS, CALLS)
def test_what_is_written_is_read(thought: str, calls: list[tuple[str, dict[str, Any]]]) -> None:
    (tool, arguments), *others = calls
    outputs = {
        "next_thought": thought,
        "next_tool": tool,
        "next_args": arguments,
        "more_calls": [{"name": name, "arguments": given} for name, given in others],
    }
    assert LAYOUT.read(FORM, LAYOUT.assistant(FORM, outputs)).values == outputs


@given(TEXTS, CALLS)
def test_written_calls_become_turns(thought: str, calls: list[tuple[str, dict[str, Any]]]) -> None:
    text = LAYOUT.answer(replied(thought, calls))
    said, *results = LAYOUT.reply_turns(FORM, text)
    made = [part for part in said.content if isinstance(part, ToolCall)]
    answered = [turn.content[0] for turn in results]
    assert [call.name for call in made] == [name for name, _ in calls]
    assert len({call.id for call in made}) == len(calls)
    assert all(isinstance(part, ToolResult) for part in answered)
    assert [call.id for call in made] == [part.call_id for part in answered]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "read", "arguments": {"page": 2}}',
        '```json\n[{"name": "read", "parameters": {"page": 2}}]\n```',
        'I read it. <tool_call>{"name": "read", "arguments": {"page": 2}}</tool_call>',
    ],
)
def test_calls_in_a_text_are_read(text: str) -> None:
    values = LAYOUT.read(FORM, text).values
    assert (values["next_tool"], values["next_args"]) == ("read", {"page": 2})


@pytest.mark.parametrize("text", ["The answer is 3.", "", '{"answer": 3}', '{"name": "fly"}'])
def test_a_text_without_a_call_is_refused(text: str) -> None:
    with pytest.raises(LayoutError, match="it calls no tool: call one of search, read, finish"):
        LAYOUT.read(FORM, text)


def test_a_call_without_arguments_has_none() -> None:
    text = LAYOUT.answer(Reply("", tool_calls=(ToolCall("1", "read", ""),)))
    assert LAYOUT.read(FORM, text).values["next_args"] == {}


def test_a_correction_answers_each_call() -> None:
    calls = [("read", {"page": 2}), ("search", {})]
    said, *results = LAYOUT.correction(FORM, replied("Both.", calls), "no such page")
    assert said.text == "Both."
    assert [turn.role for turn in results] == ["tool", "tool"]
    assert all("no such page" in turn.text for turn in results)


def test_a_correction_of_arguments_that_are_no_object_is_text() -> None:
    # Some servers refuse such a call in an earlier turn.
    reply = Reply("", tool_calls=(ToolCall("1", "read", "[2"),))
    said, asked = LAYOUT.correction(FORM, reply, "no JSON")
    assert (said.role, asked.role) == ("assistant", "user")
    assert "[2" in said.text


@pytest.mark.parametrize(
    ("opening", "closing"),
    [
        ("", ""),
        ("<tool_call>\n", "\n</tool_call>"),
        ("```json\n", "\n```"),
        ("[", "]"),
        ("<tools>\n```json\n[", "]\n```\n</tools>"),
    ],
)
def test_a_text_before_a_call_that_is_written_as_text_is_the_thought(
    opening: str, closing: str
) -> None:
    call = '{"name": "search", "arguments": {"query": "x"}}'
    text = f"I look it up.\n{opening}{call}{closing}"
    assert LAYOUT.read(FORM, text).values["next_thought"] == "I look it up."
