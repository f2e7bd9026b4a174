"""`run_calls`: the tools that an LM called, and the turn that answers it."""

from __future__ import annotations

import asyncio

import pytest

import lmpipe
from lmpipe.errors import ConfigError, LMUnavailableError
from lmpipe.lm.runtime import Runtime


def weather(city: str) -> str:
    """Tell the weather."""
    return f"sun in {city}"


def call(name: str = "weather", arguments: str = '{"city": "Rome"}') -> lmpipe.ToolCall:
    return lmpipe.ToolCall("call_1", name, arguments)


def test_an_lm_gets_the_results_of_its_calls() -> None:
    lm = lmpipe.ScriptedLM([lmpipe.Reply("", tool_calls=(call(),)), "Sunny."])
    turns = [lmpipe.Message("user", "How is Rome?")]
    with lmpipe.using(runtime=Runtime()):
        while (reply := lm(turns, tools=[lmpipe.Tool.of(weather)])).tool_calls:
            turns += [
                lmpipe.Message("assistant", reply.tool_calls),
                lmpipe.run_calls_sync(reply.tool_calls, [weather]),
            ]
    assert reply.text == "Sunny."
    assert turns[-1].content == (lmpipe.ToolResult("call_1", "sun in Rome"),)


@pytest.mark.parametrize(
    ("called", "problem"),
    [
        (call("search"), "there is no tool 'search'; the tools are: weather"),
        (
            call(arguments='{"city": '),
            "the arguments are not a JSON object: unexpected end of data",
        ),
        (call(arguments="[3]"), "the arguments are not a JSON object: [3]"),
        (call(arguments='{"town": "Rome"}'), "city: Missing required argument"),
    ],
)
async def test_a_wrong_call_is_answered_with_an_error(
    called: lmpipe.ToolCall, problem: str
) -> None:
    turn = await lmpipe.run_calls([called], [weather])
    (result,) = turn.content
    assert isinstance(result, lmpipe.ToolResult)
    assert result.is_error
    assert problem in str(result.content)


async def test_calls_run_at_the_same_time_and_keep_their_order() -> None:
    ended = asyncio.Event()

    async def wait(first: bool) -> bool:
        if first:
            await ended.wait()
        ended.set()
        return first

    calls = [call("wait", '{"first": true}'), call("wait", '{"first": false}')]
    turn = await lmpipe.run_calls(calls, [wait])
    assert [part.content for part in turn.content if isinstance(part, lmpipe.ToolResult)] == [
        "true",
        "false",
    ]


async def test_an_error_that_ends_the_run_is_raised_by_itself() -> None:
    async def fail() -> None:
        raise LMUnavailableError("down")

    with pytest.raises(LMUnavailableError):
        await lmpipe.run_calls([call("fail", ""), call("fail", "{}")], [fail])


async def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="two tools have the name 'weather'"):
        await lmpipe.run_calls([], [weather, lmpipe.Tool.of(weather)])


def test_chosen_calls_run() -> None:
    program = lmpipe.Predict("question, tools: list[Tool] -> calls: ToolCalls")
    calls = [
        {"name": "weather", "arguments": {"city": "Rome"}},
        {"name": "search", "arguments": {}},
    ]
    lm = lmpipe.ScriptedLM([program.reply({"calls": calls})])
    with lmpipe.using(lm=lm, runtime=Runtime()):
        result = program(question="Rain?", tools=[lmpipe.Tool.of(weather)])
        outcomes = lmpipe.run_chosen_calls_sync(result.calls, [weather])
    assert [(outcome.text, outcome.error) for outcome in outcomes] == [
        ("sun in Rome", False),
        ("there is no tool 'search'; the tools are: weather", True),
    ]
