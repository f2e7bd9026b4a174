"""`run_tool`: run a tool with the arguments that an LM chose."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping
from typing import Any

import pydantic
from pydantic_core import to_jsonable_python

from lmpipe.errors import ENDS_RUN, CallError, ConfigError
from lmpipe.foundation.checks import check_number
from lmpipe.foundation.time_limits import within
from lmpipe.foundation.unicode_text import with_valid_texts
from lmpipe.lm.concurrency.loop import call, run_sync
from lmpipe.lm.current import current_settings
from lmpipe.lm.events import ToolEnded, ToolStarted
from lmpipe.lm.observing import listening, observed
from lmpipe.lm.parts import media_in
from lmpipe.lm.scope import current_scope
from lmpipe.signatures.field_types.tool_function import ToolFunction
from lmpipe.signatures.field_types.tools import Tool
from lmpipe.state.trace import Source, ToolStep
from lmpipe.tools.outcome import ToolOutcome
from lmpipe.tools.stored_results import StoredResults

ERROR_LIMIT = 2000  # characters of an error that an LM sees


async def run_tool(
    tool: Tool, arguments: Mapping[str, Any], *, error_limit: int = ERROR_LIMIT
) -> ToolOutcome:
    """Check the arguments of a tool and run it; an error of either is an outcome too.

    A tool with effects does not run in a compile or an evaluation: its fake does, or a cassette
    has its result. The result of a pure tool comes from the cache if it is there, or from an equal
    use that is running.

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
    given = with_valid_texts(to_jsonable_python(dict(arguments), fallback=str))
    # A pass that follows a failed check does not repeat what a tool did in the one before.
    answers = current_scope().answers
    answer = (
        None if answers is None else answers.question(_what_runs(tool.name, tool.function), given)
    )
    if answer is not None and not answer.open:
        known: ToolOutcome = answer.result
        return known
    trace, started = current_scope().trace, time.perf_counter()
    number, after = (0, 0) if trace is None else (trace.begin(), len(trace.steps))
    if listening:
        with observed(ToolStarted, ToolEnded, tool=tool.name, arguments=given) as call:
            outcome, source = await _outcome(tool.name, tool.function, given, error_limit)
            call.ends(text=outcome.text, failed=outcome.error, source=source)
    else:
        outcome, source = await _outcome(tool.name, tool.function, given, error_limit)
    if trace is not None:
        step = ToolStep(
            tool=tool.name,
            arguments=given,
            result=outcome.text,
            error=outcome.error,
            source=source,
            seconds=time.perf_counter() - started,
            media=tuple(part.sha256 for part in media_in(outcome.parts)),
            after=after,
            number=number,
        )
        trace.add_tool(step)
    if answers is not None and answer is not None:
        answer.result = outcome
        answers.add(answer)
    return outcome


def run_tool_sync(
    tool: Tool, arguments: Mapping[str, Any], *, error_limit: int = ERROR_LIMIT
) -> ToolOutcome:
    """Run a tool from plain Python, such as a sync `forward`; see `run_tool`."""
    return run_sync(run_tool(tool, arguments, error_limit=error_limit))


def _what_runs(name: str, function: ToolFunction) -> tuple[object, ...]:
    """Tell a tool from others in each pass, even if it is made anew there, as from a function."""
    called = inspect.unwrap(function.function)
    # A function inside of `forward` is another one in each pass, with the same code.
    return name, getattr(called, "__code__", called), id(getattr(called, "__self__", None))


async def _outcome(
    name: str, function: ToolFunction, arguments: dict[str, Any], error_limit: int
) -> tuple[ToolOutcome, Source]:
    """Return the outcome of a tool and where it is from."""
    try:
        checked = function.check(arguments)
    except pydantic.ValidationError as error:
        problems = f"the arguments are wrong:\n{_problems(error)}"
        return ToolOutcome.of_error(problems, error_limit), "ran"
    scope = current_scope()
    held = function.effects and scope.evaluating
    if held and function.fake is not None:
        return await _run(name, function.fake, checked, error_limit, None), "faked"
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

    async def run() -> ToolOutcome:
        running = _run(name, function.function, checked, error_limit, function.timeout)
        return results.keep(await running)

    if not function.pure:
        return await run(), "ran"
    runs = current_settings().runtime.pure_tools
    outcome, joined = await runs.do(results.use.cache_key, run)
    return outcome, "stored" if joined else "ran"


async def _run(
    name: str,
    function: Callable[..., Any],
    arguments: Mapping[str, Any],
    error_limit: int,
    timeout: float | None,  # noqa: ASYNC109 - None must cost nothing
) -> ToolOutcome:
    """Run a function and convert what it returns or raises."""
    try:
        running = call(function, **arguments)
        value = await within(timeout, running, late=lambda: _late(timeout))
    except ENDS_RUN:
        raise
    except pydantic.ValidationError as error:
        return ToolOutcome.of_error(_problems(error), error_limit)
    except Exception as error:  # noqa: BLE001 - a tool may raise anything; the LM sees it
        return ToolOutcome.of_error(f"{type(error).__name__}: {error}", error_limit)
    outcome = ToolOutcome.of(name, value)
    return ToolOutcome.of_error(outcome.text, error_limit) if outcome.error else outcome


def _late(timeout: float | None) -> TimeoutError:
    return TimeoutError(f"the tool took longer than {timeout:g} seconds")


def _problems(error: pydantic.ValidationError) -> str:
    """Say what is wrong with some values, one line for each."""
    return "\n".join(
        f"{'.'.join(map(str, item['loc'])) or error.title}: {item['msg']}"
        for item in error.errors(include_url=False, include_input=False, include_context=False)
    )
