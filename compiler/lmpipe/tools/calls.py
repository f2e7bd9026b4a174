"""Run the tools that an LM called, natively or in an output, all at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from lmpipe.errors import ConfigError
from lmpipe.foundation.exact_json import load_json
from lmpipe.lm.concurrency.loop import run_sync
from lmpipe.lm.message import Message
from lmpipe.lm.parts import ToolCall
from lmpipe.signatures.field_types.tools import ChosenCall, Tool
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
    outcomes = await _run_all(calls, _by_name("run_calls", tools), error_limit)
    results = [outcome.as_result(call.id) for call, outcome in zip(calls, outcomes, strict=True)]
    return Message("tool", tuple(results))


async def run_chosen_calls(
    calls: Iterable[ChosenCall],
    tools: Sequence[Tool | Callable[..., Any]],
    *,
    error_limit: int = ERROR_LIMIT,
) -> list[ToolOutcome]:
    """Run the calls in an output of the type `ToolCalls`; see `run_calls`."""
    return await _run_all(list(calls), _by_name("run_chosen_calls", tools), error_limit)


def run_calls_sync(
    calls: Sequence[ToolCall],
    tools: Sequence[Tool | Callable[..., Any]],
    *,
    error_limit: int = ERROR_LIMIT,
) -> Message:
    """Run the tools that an LM called, from plain Python; see `run_calls`."""
    return run_sync(run_calls(calls, tools, error_limit=error_limit))


def run_chosen_calls_sync(
    calls: Iterable[ChosenCall],
    tools: Sequence[Tool | Callable[..., Any]],
    *,
    error_limit: int = ERROR_LIMIT,
) -> list[ToolOutcome]:
    """Run the calls in an output of the type `ToolCalls`, from plain Python; see `run_calls`."""
    return run_sync(run_chosen_calls(calls, tools, error_limit=error_limit))


def _by_name(owner: str, given: Sequence[Tool | Callable[..., Any]]) -> dict[str, Tool]:
    tools: dict[str, Tool] = {}
    for item in given:
        tool = item if isinstance(item, Tool) else Tool.of(item)
        if tools.setdefault(tool.name, tool) is not tool:
            raise ConfigError(
                f"{owner}: two tools have the name {tool.name!r}: give another name to one, "
                "lmpipe.Tool.of(…, name=…)"
            )
    return tools


async def _run_all(
    calls: Sequence[ToolCall | ChosenCall], tools: Mapping[str, Tool], error_limit: int
) -> list[ToolOutcome]:
    try:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(run_call(call, tools, error_limit)) for call in calls]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in running]


async def run_call(
    call: ToolCall | ChosenCall, tools: Mapping[str, Tool], error_limit: int
) -> ToolOutcome:
    """Run one call; that of an unknown tool, or with wrong arguments, is an error for the LM."""
    if call.name not in tools:
        names = ", ".join(tools) or "none"
        problem = f"there is no tool {call.name!r}; the tools are: {names}"
        return ToolOutcome.of_error(problem, error_limit)
    try:
        arguments = _arguments(call)
    except ValueError as error:
        return ToolOutcome.of_error(f"the arguments are not a JSON object: {error}", error_limit)
    return await run_tool(tools[call.name], arguments, error_limit=error_limit)


def _arguments(call: ToolCall | ChosenCall) -> Mapping[str, Any]:
    """Return the arguments of a call, or raise a ValueError if they are no JSON object."""
    if isinstance(call, ChosenCall):
        return call.arguments
    arguments = load_json(call.arguments or "{}")
    if not isinstance(arguments, dict):
        raise ValueError(call.arguments)
    return arguments
