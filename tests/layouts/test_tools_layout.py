"""The `tools` layout: the outputs as a call of one tool."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest
from helpers.layouts import as_reply
from helpers.odd_texts import odd_texts, outputs_spec
from hypothesis import given, settings
from hypothesis import strategies as st

from lmpipe.layouts import LayoutError, ToolsLayout, render_demo, render_prefix
from lmpipe.lm.parts import ToolCall, ToolResult
from lmpipe.lm.request import Reply
from lmpipe.signatures.signature import Input, Output, Signature, spec_of
from lmpipe.state.program_state import Demo

TOOLS = ToolsLayout()


class Ticket(Signature):
    """Route the ticket."""

    text: str = Input(desc="what the customer wrote")
    team: Literal["billing", "shipping"] = Output(desc="who answers")
    stars: int = Output(ge=1)


SPEC = spec_of(Ticket)


def test_the_tool_has_the_outputs_as_its_parameters() -> None:
    (tool,) = TOOLS.tools(spec_of(Ticket))
    assert tool.name == "Ticket"
    schema = json.loads(tool.parameters)
    assert list(schema["properties"]) == schema["required"] == ["team", "stars"]
    assert schema["properties"]["team"]["description"] == "who answers"
    assert schema["properties"]["stars"]["minimum"] == 1


def test_the_system_turn_leaves_the_outputs_to_the_tool() -> None:
    (system,) = render_prefix(TOOLS, spec_of(Ticket), "Route it.", [])
    assert system.content == (
        "Route it.\n\nThe inputs:\n- text: what the customer wrote\n\n"
        "Give the answer by one call of the tool `Ticket`."
    )


def test_a_demonstration_is_a_call_and_its_result() -> None:
    demo = Demo(inputs={"text": "Where?"}, outputs={"team": "shipping", "stars": 4})
    user, assistant, result = render_demo(TOOLS, spec_of(Ticket), demo)
    assert (user.role, user.content) == ("user", '{"text":"Where?"}')
    (call,), (given_back,) = assistant.content, result.content
    assert isinstance(call, ToolCall)
    assert (call.name, call.arguments) == ("Ticket", '{"team":"shipping","stars":4}')
    assert given_back == ToolResult(call.id, "Received.")
    assert result.role == "tool"


def test_calls_of_different_demonstrations_have_different_ids() -> None:
    ids = set()
    for stars in (1, 2):
        demo = Demo(inputs={}, outputs={"team": "billing", "stars": stars})
        (call,) = render_demo(TOOLS, spec_of(Ticket), demo)[1].content
        assert isinstance(call, ToolCall)
        ids.add(call.id)
    assert len(ids) == 2
    assert all(len(one) == 9 and one.isalnum() for one in ids), "Mistral takes no others"


@settings(max_examples=100, deadline=None)
@given(st.fixed_dictionaries({"a": odd_texts, "b": st.none() | st.text()}))
def test_any_text_comes_back_whole(values: dict[str, Any]) -> None:
    spec = outputs_spec(a=str, b=str | None)
    reply = as_reply(render_demo(TOOLS, spec, Demo(inputs={}, outputs=values))[1])
    assert isinstance(reply, Reply)
    assert TOOLS.read(spec, TOOLS.answer(reply)).values == values


@pytest.mark.parametrize(
    "reply",
    [
        Reply("", tool_calls=(ToolCall("1", "Ticket", '{"team": "billing", "stars": 2}'),)),
        Reply("Sure.", tool_calls=(ToolCall("1", "Ticket", "{'team': 'billing', 'stars': 2,}"),)),
        Reply('{"team": "billing", "stars": 2}'),
        Reply('So:\n```json\n{"team": "billing", "stars": 2}\n```'),
        Reply('<tool_call>\n{"name": "Ticket", "arguments": {"team": "billing", "stars": 2}}'),
        Reply('{"name": "Ticket", "parameters": "{\\"team\\": \\"billing\\", \\"stars\\": 2}"}'),
    ],
)
def test_what_is_read_of_a_reply(reply: Reply) -> None:
    spec = spec_of(Ticket)
    read = TOOLS.read(spec, TOOLS.answer(reply)).values
    assert {name: str(value) for name, value in read.items()} == {"team": "billing", "stars": "2"}


def test_the_name_of_a_tool_in_a_text_is_not_an_output() -> None:
    spec = outputs_spec(name=str)
    tool = TOOLS.tools(spec)[0].name
    text = json.dumps({"name": tool, "arguments": {"name": "Ada"}})
    assert TOOLS.read(spec, text).values == {"name": "Ada"}
    assert TOOLS.read(spec, json.dumps({"name": tool})).values == {"name": tool}


def test_a_correction_is_the_result_of_the_wrong_call() -> None:
    wrong = ToolCall("7", "Ticket", "{}")
    said, told = TOOLS.correction(SPEC, Reply("", tool_calls=(wrong,)), "the reply lacks 'team'")
    assert said.content == (wrong,)
    assert told.role == "tool"
    (result,) = told.content
    assert isinstance(result, ToolResult)
    assert (result.call_id, result.is_error) == ("7", True)
    assert "lacks 'team'" in str(result.content)


def test_a_correction_of_a_text_asks_for_a_call() -> None:
    said, told = TOOLS.correction(SPEC, Reply("billing"), "the reply must be one JSON object")
    assert (said.content, told.role) == ("billing", "user")
    assert told.text.endswith("Answer by one call of the tool.")


@pytest.mark.parametrize("arguments", ["{'team': ", "", "[]"])
def test_a_call_that_servers_could_not_parse_is_not_sent_back_as_one(arguments: str) -> None:
    wrong = ToolCall("7", "Ticket", arguments)
    said, told = TOOLS.correction(SPEC, Reply("", tool_calls=(wrong,)), "the reply lacks 'team'")
    assert (said.role, said.content) == ("assistant", arguments or "{}")
    assert (told.role, told.text) == (
        "user",
        "That call cannot be used: the reply lacks 'team'\nCall the tool again.",
    )


def test_two_calls_that_differ_are_no_answer() -> None:
    first, second = (f'{{"team": "billing", "stars": {stars}}}' for stars in (1, 2))
    same = Reply("", tool_calls=(ToolCall("1", "t", first), ToolCall("2", "t", first)))
    assert TOOLS.read(spec_of(Ticket), TOOLS.answer(same)).values["stars"] in (1, "1")
    other = Reply("", tool_calls=(ToolCall("1", "t", first), ToolCall("2", "t", second)))
    with pytest.raises(LayoutError, match="one JSON object"):
        TOOLS.read(spec_of(Ticket), TOOLS.answer(other))


def test_a_call_without_arguments_gives_no_output() -> None:
    spec = outputs_spec(a=int)
    empty = Reply("", tool_calls=(ToolCall("1", "t", ""),))
    with pytest.raises(LayoutError, match="lacks 'a'"):
        TOOLS.read(spec, TOOLS.answer(empty))


@pytest.mark.parametrize(
    ("name", "tool"), [("Größe", "Gr_e"), ("名前", "answer"), ("A" * 80, "A" * 64)]
)
def test_the_tool_has_a_name_that_servers_take(name: str, tool: str) -> None:
    spec = spec_of(type(name, (Ticket,), {"__doc__": "Route.", "__module__": __name__}))
    assert TOOLS.tools(spec)[0].name == tool
