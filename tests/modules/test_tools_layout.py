"""Predictors with the layout `tools`."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.recording_server import recording

import lmpipe
from lmpipe.errors import ConfigError, CutError, LMRequestError, OutputError
from lmpipe.lm.parts import ToolCall
from lmpipe.lm.request import Reply, Request
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.scope import scope
from lmpipe.settings import using
from lmpipe.state.program_state import Demo
from lmpipe.state.trace import Trace

ARGUMENTS = '{"a": 5}'


def call(arguments: str, **reply: Any) -> Reply:
    return Reply(
        "", **{"finish": "tool_calls", **reply}, tool_calls=(ToolCall("1", "t", arguments),)
    )


def asked(script: Any, **options: Any) -> tuple[Any, list[Request]]:
    lm = lmpipe.ScriptedLM(script)
    with using(lm=lm, runtime=Runtime()):
        return lmpipe.Predict("q -> a: int", layout="tools", **options)(q="?"), lm.requests


def test_the_outputs_are_those_of_the_call() -> None:
    result, (request,) = asked([call('{"a": 5}')])
    assert result.a == 5
    assert request.tool_choice == request.tools[0].name
    assert request.constraint is None


def test_constrained_outputs_are_left_to_the_tool() -> None:
    _, (request,) = asked([call('{"a": 5}')], constrained=True)
    assert request.constraint is None


def test_a_wrong_call_is_corrected() -> None:
    result, (_, second) = asked([call('{"a": "many"}'), call('{"a": 5}')])
    assert result.a == 5
    assert [turn.role for turn in second.messages] == ["system", "user", "assistant", "tool"]


def test_the_error_shows_the_arguments() -> None:
    with pytest.raises(OutputError, match="many") as raised:
        asked([call('{"a": "many"}')], retries=0)
    assert raised.value.raw == '{"a": "many"}'


def test_a_cut_call_is_no_answer() -> None:
    with pytest.raises(CutError):
        asked([call('{"a": 1', finish="length")], retries=0)


def test_a_complete_call_at_the_limit_of_tokens_is_an_answer() -> None:
    assert asked([call('{"a": 1}', finish="length")], retries=0)[0].a == 1


def test_the_trace_has_the_arguments() -> None:
    trace = Trace()
    with scope(trace=trace):
        asked([call('{"a": 5}')])
    assert trace.steps[0].replies == ('{"a": 5}',)


def test_demonstrations_that_are_withheld_leave_no_turn_behind() -> None:
    demos = [Demo(inputs={"q": str(n)}, outputs={"a": n}) for n in range(3)]
    program = lmpipe.Predict("q -> a: int", layout="tools")
    program = program.bind(program.state().map(demos=tuple(demos)))
    lm = lmpipe.ScriptedLM(lambda request: call('{"a": 1}'))
    example = lmpipe.Example(q="1", a=1).with_inputs("q")
    lmpipe.evaluate(program, [example], lmpipe.metrics.exact_match("a"), lm=lm)
    (request,) = lm.requests
    roles = [turn.role for turn in request.messages]
    assert roles == ["system", *["user", "assistant", "tool"] * 2, "user"]


def test_a_server_without_tools_is_told_with_other_layouts() -> None:
    def refuse(request: Request) -> Reply:
        raise LMRequestError("tools are not supported", status=400)

    with pytest.raises(LMRequestError, match=r"layout 'tools'.*chat, plain, json, xml") as raised:
        asked(refuse)
    assert "tools are not supported" in str(raised.value)


def test_an_lm_that_takes_no_tools_is_not_asked() -> None:
    lm = lmpipe.ScriptedLM([call('{"a": 5}')], takes={"tools": False})
    with (
        using(lm=lm, runtime=Runtime()),
        pytest.raises(
            ConfigError, match=r"scripted/scripted does not: choose another layout \(chat"
        ),
    ):
        lmpipe.Predict("q -> a: int", layout="tools")(q="?")
    assert not lm.requests


async def test_the_request_forces_the_call_and_the_reply_is_read() -> None:
    message = {
        "tool_calls": [{"id": "1", "function": {"name": "Signature", "arguments": ARGUMENTS}}]
    }
    whole = {"choices": [{"message": message, "finish_reason": "tool_calls"}]}
    async with recording(whole) as server:
        lm = lmpipe.LM("openai/m", base_url=f"{server.url}/v1")
        with using(lm=lm, runtime=Runtime()):
            result = await lmpipe.Predict("q -> a: int", layout="tools").acall(q="?")
    assert result.a == 5
    (tool,) = server.body["tools"]
    assert tool["function"]["parameters"]["properties"]["a"]["type"] == "integer"
    assert server.body["tool_choice"] == {"type": "function", "function": {"name": "Signature"}}


async def test_a_streamed_call_is_read() -> None:
    deltas = [{"tool_calls": [{"index": 0, "id": "1", "function": {"name": "Signature"}}]}]
    deltas += [
        {"tool_calls": [{"index": 0, "function": {"arguments": char}}]} for char in ARGUMENTS
    ]
    chunks = [{"choices": [{"delta": delta}]} for delta in deltas]
    end = {"choices": [{"delta": {}, "finish_reason": "tool_calls"}]}
    async with recording([*chunks, end]) as server:
        lm = lmpipe.LM("openai/m", base_url=f"{server.url}/v1")
        with using(lm=lm, runtime=Runtime()):
            stream = lmpipe.Predict("q -> a: int", layout="tools").stream(q="?")
            pieces = [piece async for piece in stream]
    assert (pieces[-1].field, pieces[-1].value, pieces[-1].done) == ("a", 5, True)


async def test_the_outputs_of_a_streamed_call_grow() -> None:
    pieces_of_arguments = ['{"a": "one', " two", ' three"}']
    deltas = [{"tool_calls": [{"index": 0, "id": "1", "function": {"name": "Signature"}}]}]
    deltas += [
        {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}
        for piece in pieces_of_arguments
    ]
    chunks = [{"choices": [{"delta": delta}]} for delta in deltas]
    end = {"choices": [{"delta": {}, "finish_reason": "tool_calls"}]}
    async with recording([*chunks, end]) as server:
        lm = lmpipe.LM("openai/m", base_url=f"{server.url}/v1")
        with using(lm=lm, runtime=Runtime()):
            stream = lmpipe.Predict("q -> a: str", layout="tools").stream(q="?")
            pieces = [piece async for piece in stream]
    assert [piece.text for piece in pieces] == ["one", "one two", "one two three", "one two three"]
    assert {piece.attempt for piece in pieces} == {0}
