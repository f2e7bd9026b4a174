"""Tools of the embedded engine: what it is asked, and calls that models write as text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from helpers.fake_engine import FakeEngine, provider_of
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.errors import ConfigError
from lmpipe.lm.embedded.provider import request_body
from lmpipe.lm.embedded.tools import calls_in_text
from lmpipe.lm.lm import LM
from lmpipe.lm.message import Message
from lmpipe.lm.parts import MediaPart, ReasoningPart, TextPart, ToolCall, ToolSpec
from lmpipe.lm.request import Reply, Request

SCHEMA = '{"properties":{"city":{"type":"string"}},"type":"object"}'
TOOLS = (ToolSpec("weather", "Tell the weather.", SCHEMA), ToolSpec("time", "Tell it.", SCHEMA))
PARIS = ToolCall("call_0", "weather", '{"city":"Paris"}')

CALL = '{"name": "weather", "arguments": {"city": "Paris"}}'


def asking(lm: LM, text: str = "hi", choice: str = "", **more: Any) -> Request:
    return Request(lm, (Message("user", text),), tools=TOOLS, tool_choice=choice, **more)


async def say(lm: LM, text: str, choice: str = "") -> Reply:
    """Ask an engine that answers with this text."""
    return await provider_of(FakeEngine()).complete(asking(lm, text, choice))


# --- what is asked


def body(lm: LM, choice: str) -> Mapping[str, Any]:
    return request_body(asking(lm, choice=choice))


@pytest.mark.parametrize("choice", ["auto", "none"])
def test_tools_are_offered(lm: LM, choice: str) -> None:
    sent = body(lm, choice)
    assert [tool["function"]["name"] for tool in sent["tools"]] == ["weather", "time"]
    assert sent["tool_choice"] == choice
    assert "response_format" not in sent


def test_a_required_call_is_asked_for_as_an_object(lm: LM) -> None:
    schema = body(lm, "required")["response_format"]["json_schema"]["schema"]
    names = [form["properties"]["name"] for form in schema["anyOf"]]
    assert names == [{"const": "weather"}, {"const": "time"}]


def test_a_thought_comes_before_the_choice_of_a_tool(lm: LM) -> None:
    schema = body(lm, "required")["response_format"]["json_schema"]["schema"]
    assert [next(iter(form["properties"])) for form in schema["anyOf"]] == ["thought", "thought"]
    assert "thought" in schema["anyOf"][0]["required"]


def test_a_chosen_tool_is_the_only_form(lm: LM) -> None:
    schema = body(lm, "time")["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["name"] == {"const": "time"}
    assert schema["properties"]["arguments"]["properties"] == {"city": {"type": "string"}}


def test_the_definitions_of_each_tool_stay_its_own(lm: LM) -> None:
    def tool(name: str, kind: str) -> ToolSpec:
        schema = {
            "$defs": {"Place": {"type": kind}},
            "properties": {"at": {"$ref": "#/$defs/Place"}},
        }
        return ToolSpec(name, "", json.dumps(schema))

    tools = (tool("a", "string"), tool("b", "object"))
    asked = Request(lm, (Message("user", "hi"),), tools=tools, tool_choice="required")
    schema = request_body(asked)["response_format"]["json_schema"]["schema"]
    assert schema["$defs"] == {"a.Place": {"type": "string"}, "b.Place": {"type": "object"}}
    arguments = [form["properties"]["arguments"] for form in schema["anyOf"]]
    assert [one["properties"]["at"]["$ref"] for one in arguments] == [
        "#/$defs/a.Place",
        "#/$defs/b.Place",
    ]


def test_a_request_without_tools_has_no_fields_of_tools(lm: LM) -> None:
    sent = request_body(Request(lm, (Message("user", "hi"),)))
    assert not {"tools", "tool_choice", "response_format"} & sent.keys()


def test_thoughts_of_earlier_turns_are_sent(lm: LM) -> None:
    turn = Message("assistant", (ReasoningPart("hm"), TextPart("a")))
    (sent,) = request_body(Request(lm, (turn,)))["messages"]
    assert sent == {"role": "assistant", "content": "a", "reasoning_content": "hm"}


def test_a_picture_is_refused_with_what_reads_it(lm: LM) -> None:
    picture = MediaPart("image", "image/png", b"png")
    with pytest.raises(ConfigError, match=r"reads text only.*image.*vLLM"):
        request_body(Request(lm, (Message("user", (picture,)),)))


# --- what comes


@pytest.mark.parametrize(
    "text",
    [
        CALL,
        f"\n{CALL}\n\n",
        f"```json\n{CALL}\n```",
        f"<tool_call>\n{CALL}\n</tool_call>",
        f"[{CALL}]",
        CALL.replace("arguments", "parameters"),
    ],
)
async def test_a_reply_that_is_a_call_is_read_as_one(lm: LM, text: str) -> None:
    reply = await say(lm, text)
    assert (reply.text, reply.finish, reply.tool_calls) == ("", "tool_calls", (PARIS,))


async def test_the_thought_of_a_required_call_is_the_text(lm: LM) -> None:
    reply = await say(lm, f'{{"thought": "Hm. ", {CALL[1:]}', "required")
    assert (reply.text, reply.tool_calls) == ("Hm.", (PARIS,))


async def test_several_calls_are_numbered(lm: LM) -> None:
    reply = await say(lm, f"{CALL}\n{CALL}")
    assert [call.id for call in reply.tool_calls] == ["call_0", "call_1"]


@pytest.mark.parametrize(
    "text",
    [
        "It is sunny.",
        f"I call {CALL}",
        f"{CALL} now",
        CALL.replace("weather", "rain"),
        CALL.replace("Paris", 'Paris"'),
        '{"name": "weather"}',
        '{"name": "weather", "arguments": "Paris"}',
        '{"name": "weather", "arguments": {}, "more": 1}',
        "[]",
        "{" * 100_000,
    ],
)
async def test_any_other_text_stays_a_text(lm: LM, text: str) -> None:
    reply = await say(lm, text)
    assert (reply.text, reply.tool_calls) == (text, ())


async def test_a_call_that_was_not_wanted_stays_a_text(lm: LM) -> None:
    assert (await say(lm, CALL, "none")).tool_calls == ()


async def test_a_required_call_is_not_streamed_as_text(lm: LM) -> None:
    shown: list[str] = []
    await provider_of(FakeEngine()).stream(asking(lm, CALL, "required"), shown.append)
    assert shown == []


@given(st.text(st.sampled_from('{}[]":,\\n <tol_ca/>`jsnweather0')))
def test_no_text_is_a_crash(text: str) -> None:
    calls_in_text(text, TOOLS)
