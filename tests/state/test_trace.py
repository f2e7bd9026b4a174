"""`Trace`: predictor calls and runs of tools, in order."""

from __future__ import annotations

import asyncio

from helpers.agents import EXAMPLES, LookUp, answered, lm

import lmpipe
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.scope import scope
from lmpipe.state.trace import SearchStep, Step, ToolStep, Trace
from lmpipe.state.usage import Usage


def step(name: str) -> Step:
    return Step(name, {}, {}, ("x",), Usage(), 0.0, cached=False)


def names(trace: Trace) -> list[str]:
    return [
        getattr(item, kind)
        for item in trace.timeline
        for kind in ("predictor", "tool", "retriever")
        if hasattr(item, kind)
    ]


def search(name: str, *, after: int, number: int) -> SearchStep:
    return SearchStep(name, ("x",), 1, ((),), after=after, number=number)


def test_the_timeline_has_tools_among_the_predictor_calls() -> None:
    tools = [ToolStep("a", {}, "", after=after) for after in (0, 2, 2, 3)]
    trace = Trace([step("p"), step("q"), step("r")], tools=tools)
    assert names(trace) == ["a", "p", "q", "a", "a", "r", "a"]


def test_a_trace_without_tools_is_its_predictor_calls() -> None:
    assert names(Trace([step("p"), step("q")])) == ["p", "q"]


def test_the_timeline_has_searches_among_tools_and_predictor_calls() -> None:
    tools = [
        ToolStep(name, {}, "", after=1, number=number) for name, number in {"a": 1, "b": 3}.items()
    ]
    searches = [
        search("s", after=0, number=0),
        search("t", after=1, number=2),
        search("u", after=2, number=4),
    ]
    trace = Trace([step("p"), step("q"), step("r")], tools=tools, searches=searches)
    assert names(trace) == ["s", "p", "a", "t", "b", "q", "u", "r"]


def test_the_searches_of_an_added_trace_come_after_what_was_there() -> None:
    trace, other = Trace([step("p")]), Trace([step("q")])
    trace.add_tool(ToolStep("a", {}, "", after=1, number=trace.begin()))
    other.add_search(search("s", after=0, number=other.begin()))
    other.add_tool(ToolStep("b", {}, "", after=1, number=other.begin()))
    other.add_search(search("t", after=1, number=other.begin()))
    trace.extend(other)
    assert names(trace) == ["p", "a", "s", "q", "b", "t"]


def test_an_added_trace_comes_after_what_was_there() -> None:
    trace = Trace([step("p")], tools=[ToolStep("a", {}, "", after=1)])
    trace.extend(Trace([step("q"), step("r")], tools=[ToolStep("b", {}, "", after=1)]))
    assert names(trace) == ["p", "a", "q", "b", "r"]


def test_a_run_is_traced_with_its_tools() -> None:
    def look_up(city: str) -> str:
        return f"{city} is far"

    with lmpipe.using(lm=lm(), runtime=Runtime()):
        evaluation = lmpipe.evaluate(LookUp(lmpipe.Tool.of(look_up)), EXAMPLES, answered)
    trace = evaluation.rows[0].trace
    assert names(trace) == ["ask", "look_up"]
    (tool,) = trace.tools
    assert (tool.arguments, tool.result, tool.error) == ({"city": "Rome"}, "Rome is far", False)


async def test_tools_are_traced_in_the_order_in_which_they_began() -> None:
    second_ended = asyncio.Event()

    async def wait(name: str) -> str:
        if name == "first":
            await second_ended.wait()
        else:
            second_ended.set()
        return name

    tool, trace = lmpipe.Tool.of(wait), Trace()
    with scope(trace=trace):
        await asyncio.gather(*(lmpipe.run_tool(tool, {"name": n}) for n in ("first", "second")))
    assert [step.result for step in trace.tools] == ["first", "second"]


def test_wrong_arguments_are_traced() -> None:
    with lmpipe.using(lm=lm(), runtime=Runtime()):
        evaluation = lmpipe.evaluate(
            LookUp(lmpipe.Tool.of(lambda town: town, name="look_up")), EXAMPLES, answered
        )
    (tool,) = evaluation.rows[0].trace.tools
    assert tool.error
    assert "town: Missing required argument" in tool.result
