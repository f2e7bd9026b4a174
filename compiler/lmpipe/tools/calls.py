"""`run_calls`: run the tools that an LM called, and make the turn that answers it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lmpipe.errors import ConfigError
from lmpipe.foundation.exact_json import load_json
from lmpipe.lm.concurrency.loop import run_sync
from lmpipe.lm.message import Message
from lmpipe.lm.parts import ToolCall, ToolResult
from lmpipe.signatures.field_types.tools import Tool
from lmpipe.tools.outcome import ToolOutcome
from lmpipe.tools.running import ERROR_LIMIT, run_tool


async def run_calls(
    calls: Sequence[ToolCall],
    tools: Sequence[Tool | Callable[..., Any]],
    *,
    error_limit: int = ERROR_LIMIT,
) -> Message:
    """Run the tools that an LM called, all at the same time; return the turn with their results.

    Unknown tools, arguments that are not a JSON object, and errors of tools are results too.

    Args:
        calls: those of a reply, `reply.tool_calls`.
        tools: the tools that the LM was given, or their functions.
        error_limit: the most characters of an error; the middle of a longer one is left out.

    Raises:
        ConfigError: if two tools have one name; and what `run_tool` raises.
    """
    known: dict[str, Tool] = {}
    for given in tools:
        tool = given if isinstance(given, Tool) else Tool.of(given)
        if known.setdefault(tool.name, tool) is not tool:
            raise ConfigError(
                f"run_calls: two tools have the name {tool.name!r}: give another name to one, "
                "lmpipe.Tool.of(…, name=…)"
            )
    try:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(_run(call, known, error_limit)) for call in calls]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return Message("tool", tuple(task.result() for task in running))


def run_calls_sync(
    calls: Sequence[ToolCall],
    tools: Sequence[Tool | Callable[..., Any]],
    *,
    error_limit: int = ERROR_LIMIT,
) -> Message:
    """Run the tools that an LM called, from plain Python; see `run_calls`."""
    return run_sync(run_calls(calls, tools, error_limit=error_limit))


async def _run(call: ToolCall, tools: Mapping[str, Tool], error_limit: int) -> ToolResult:
    if call.name not in tools:
        names = ", ".join(tools) or "none"
        problem = f"there is no tool {call.name!r}; the tools are: {names}"
        return ToolOutcome.of_error(problem, error_limit).as_result(call.id)
    try:
        arguments = load_json(call.arguments or "{}")
    except ValueError as error:
        problem = f"the arguments are not JSON: {error}"
        return ToolOutcome.of_error(problem, error_limit).as_result(call.id)
    if not isinstance(arguments, dict):
        problem = f"the arguments are not a JSON object: {call.arguments}"
        return ToolOutcome.of_error(problem, error_limit).as_result(call.id)
    outcome = await run_tool(tools[call.name], arguments, error_limit=error_limit)
    return outcome.as_result(call.id)
