"""`run_tool`: run a tool with the arguments that an LM chose."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping
from typing import Any

import pydantic
from pydantic_core import to_jsonable_python

from lmpipe.errors import (
    BudgetExhaustedError,
    CallError,
    CassetteError,
    ConfigError,
    LMError,
    RecipeError,
    StorageError,
    ToolServerError,
)
from lmpipe.foundation.checks import check_number
from lmpipe.lm.concurrency.loop import in_thread, run_sync
from lmpipe.lm.parts import media_in
from lmpipe.lm.scope import current_scope
from lmpipe.signatures.field_types.tool_function import ToolFunction
from lmpipe.signatures.field_types.tools import Tool
from lmpipe.state.trace import Source, ToolStep
from lmpipe.tools.outcome import ToolOutcome
from lmpipe.tools.stored_results import StoredResults

ERROR_LIMIT = 2000  # characters of an error that an LM sees

# Errors that no answer of an LM can mend. They end the run instead of being observations.
_ENDS_RUN = (
    LMError,
    ToolServerError,
    StorageError,
    BudgetExhaustedError,
    RecipeError,
    ConfigError,
    CassetteError,
)


async def run_tool(
    tool: Tool, arguments: Mapping[str, Any], *, error_limit: int = ERROR_LIMIT
) -> ToolOutcome:
    """Check the arguments of a tool and run it; an error of either is an outcome too.

    A tool with effects does not run in a compile or an evaluation: its fake does, or a cassette
    has its result. The result of a pure tool comes from the cache if it is there.

    Args:
        tool: made by `Tool.of`, or from an MCP server.
        arguments: JSON values by name.
        error_limit: the most characters of an error; the middle of a longer one is left out.

    Raises:
        CallError: if the tool has no function, or returns what no LM can read.
        ConfigError: if the tool has effects, must not run here, and has no fake.
        LmpipeError: if the tool calls an LM that is unavailable, exceeds a budget, or is used or
            configured wrongly: nothing that an LM could mend.
    """
    check_number("run_tool", "error_limit", error_limit, minimum=1, integer=True)
    if tool.function is None:
        raise CallError(
            f"the tool {tool.name} has no function that runs it: make it with lmpipe.Tool.of(…)"
        )
    started = time.perf_counter()
    arguments = to_jsonable_python(dict(arguments), fallback=str)
    outcome, source = await _outcome(tool.name, tool.function, arguments, error_limit)
    trace = current_scope().trace
    if trace is not None:
        step = ToolStep(
            tool=tool.name,
            arguments=arguments,
            result=outcome.text,
            error=outcome.error,
            source=source,
            seconds=time.perf_counter() - started,
            media=tuple(part.sha256 for part in media_in(outcome.parts)),
            after=len(trace.steps),
        )
        trace.tools.append(step)
    return outcome


def run_tool_sync(
    tool: Tool, arguments: Mapping[str, Any], *, error_limit: int = ERROR_LIMIT
) -> ToolOutcome:
    """Run a tool from plain Python, such as a sync `forward`; see `run_tool`."""
    return run_sync(run_tool(tool, arguments, error_limit=error_limit))


async def _outcome(
    name: str, function: ToolFunction, arguments: dict[str, Any], error_limit: int
) -> tuple[ToolOutcome, Source]:
    """Return the outcome of a tool and where it is from."""
    try:
        checked = function.check(arguments)
    except pydantic.ValidationError as error:
        return ToolOutcome.of_error(_argument_problems(error), error_limit), "ran"
    scope = current_scope()
    held = function.effects and scope.evaluating
    if held and function.fake is not None:
        return await _run(name, function.fake, checked, error_limit), "faked"
    results = StoredResults.of(name, function, arguments, scope.trace)
    stored = results.find()
    if stored is not None:
        return stored, "stored"
    if held:
        raise ConfigError(
            f"the tool {name} has effects, so it does not run in a compile or an evaluation: give "
            "Tool.of(…, effects=True, fake=…) a function that takes its place, or replay a "
            "cassette that has its results (record_tools=True)"
        )
    return results.keep(await _run(name, function.function, checked, error_limit)), "ran"


async def _run(
    name: str, function: Callable[..., Any], arguments: Mapping[str, Any], error_limit: int
) -> ToolOutcome:
    """Run a function and convert what it returns or raises."""
    try:
        value = await _call(function, arguments)
    except _ENDS_RUN:
        raise
    except Exception as error:  # noqa: BLE001 - a tool may raise anything; the LM sees it
        return ToolOutcome.of_error(f"{type(error).__name__}: {error}", error_limit)
    return ToolOutcome.of(name, value)


async def _call(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Call a function; a sync one in a thread, because it may wait."""
    called = function if inspect.isroutine(function) else getattr(function, "__call__", function)  # noqa: B004
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called):
        return await function(**arguments)
    value = await in_thread(function, **arguments)
    return await value if inspect.isawaitable(value) else value


def _argument_problems(error: pydantic.ValidationError) -> str:
    """Say what is wrong with arguments, one line for each."""
    lines = [
        f"{'.'.join(map(str, item['loc'])) or 'arguments'}: {item['msg']}"
        for item in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    return "\n".join(["the arguments are wrong:", *lines])
