"""The types that checkers must infer from tools. Checked, never run."""

from __future__ import annotations

from typing import Any, assert_type

import lmpipe


def distance(start: str, end: str) -> float:
    """The distance between two towns in kilometres."""
    return 1.0


async def stations(town: str) -> list[str]:
    """The stations of a town."""
    return [town]


class Index:
    """A tool with data."""

    def __call__(self, query: str) -> list[str]:
        return [query]

    async def search(self, query: str) -> list[str]:
        return [query]


def declared() -> None:
    assert_type(lmpipe.Tool.of(distance), lmpipe.Tool)
    lmpipe.Tool.of(stations, name="stops", description="List the stops.", pure=True)
    lmpipe.Tool.of(Index(), pure="May")
    lmpipe.Tool.of(Index().search, effects=True, fake=lambda query: ["a"])
    assert_type(lmpipe.Tool.of(distance).declare(pure=True), lmpipe.Tool)


async def run(tool: lmpipe.Tool, reply: lmpipe.Reply) -> None:
    outcome = await lmpipe.run_tool(tool, {"start": "Bern"}, error_limit=500)
    assert_type(outcome, lmpipe.ToolOutcome)
    assert_type(outcome.text, str)
    assert_type(outcome.error, bool)
    assert_type(outcome.as_result("call_1"), lmpipe.ToolResult)
    assert_type(lmpipe.run_tool_sync(tool, {}), lmpipe.ToolOutcome)
    assert_type(await lmpipe.run_calls(reply.tool_calls, [tool, distance]), lmpipe.Message)
    calls: lmpipe.ToolCalls = lmpipe.ToolCalls(())
    assert_type(await lmpipe.run_chosen_calls(calls, [tool]), list[lmpipe.ToolOutcome])


async def servers() -> None:
    with lmpipe.mcp_tools(command=["places", "--stdio"], env={"A": "b"}) as tools:
        assert_type(tools, tuple[lmpipe.Tool, ...])
    async with lmpipe.mcp_tools(url="http://127.0.0.1/mcp", effects=["book"]) as tools:
        assert_type(tools, tuple[lmpipe.Tool, ...])


def traced(trace: lmpipe.Trace) -> None:
    for step in trace.tools:
        assert_type(step.tool, str)
        assert_type(step.arguments, dict[str, Any])
