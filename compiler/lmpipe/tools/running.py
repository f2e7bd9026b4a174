"""`run_tool`: run a tool with the arguments that an LM chose."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import pydantic

from lmpipe.errors import (
    BudgetExhaustedError,
    CallError,
    CassetteError,
    ConfigError,
    LMError,
    RecipeError,
    StorageError,
)
from lmpipe.foundation.checks import check_number
from lmpipe.lm.concurrency.loop import in_thread
from lmpipe.signatures.field_types.tools import Tool
from lmpipe.tools.outcome import ToolOutcome

ERROR_LIMIT = 2000  # characters of an error that an LM sees

# Errors that no answer of an LM can mend. They end the run instead of being observations.
_ENDS_RUN = (
    LMError,
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

    Args:
        tool: made by `Tool.of`, or from an MCP server.
        arguments: JSON values by name.
        error_limit: the most characters of an error; the middle of a longer one is left out.

    Raises:
        CallError: if the tool has no function, or returns what no LM can read.
        LmpipeError: if the tool calls an LM that is unavailable, exceeds a budget, or is used or
            configured wrongly: nothing that an LM could mend.
    """
    check_number("run_tool", "error_limit", error_limit, minimum=1, integer=True)
    run = tool.function
    if run is None:
        raise CallError(
            f"the tool {tool.name} has no function that runs it: make it with lmpipe.Tool.of(…)"
        )
    try:
        checked = run.check(arguments)
    except pydantic.ValidationError as error:
        return ToolOutcome.of_error(_argument_problems(error), error_limit)
    try:
        value = await _call(run.function, checked)
    except _ENDS_RUN:
        raise
    except Exception as error:  # noqa: BLE001 - a tool may raise anything; the LM sees it
        return ToolOutcome.of_error(f"{type(error).__name__}: {error}", error_limit)
    return ToolOutcome.of(tool.name, value)


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
