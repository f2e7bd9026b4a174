"""What listeners are told of tools."""

from __future__ import annotations

import pytest

import lmpipe
from lmpipe.errors import ConfigError
from lmpipe.lm.events import AnyEvent, LMStarted, ToolEnded, ToolStarted
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.scope import scope
from lmpipe.settings import using
from lmpipe.tools.running import run_tool


def double(number: int) -> int:
    """Double a number."""
    return 2 * number


async def test_a_tool_is_told_with_its_arguments_and_result() -> None:
    events: list[AnyEvent] = []
    with lmpipe.observing(events.append):
        await run_tool(lmpipe.Tool.of(double), {"number": 2})
    started, ended = events
    assert isinstance(started, ToolStarted)
    assert (started.tool, dict(started.arguments)) == ("double", {"number": 2})
    assert isinstance(ended, ToolEnded)
    assert (ended.text, ended.failed, ended.source, ended.error) == ("4", False, "ran", None)


async def test_an_error_that_the_lm_is_shown_is_no_error_of_the_call() -> None:
    events: list[AnyEvent] = []
    with lmpipe.observing(events.append):
        await run_tool(lmpipe.Tool.of(double), {})
    ended = events[-1]
    assert isinstance(ended, ToolEnded)
    assert (ended.failed, ended.error) == (True, None)
    assert "number: Missing required argument" in ended.text


async def test_a_tool_that_may_not_run_ends_with_the_error() -> None:
    events: list[AnyEvent] = []
    with (
        scope(evaluating=True),
        lmpipe.observing(events.append),
        pytest.raises(ConfigError) as raised,
    ):
        await run_tool(lmpipe.Tool.of(double, effects=True), {"number": 2})
    ended = events[-1]
    assert isinstance(ended, ToolEnded)
    assert ended.error is raised.value


async def test_the_calls_of_a_tool_are_inside_it() -> None:
    lm = lmpipe.ScriptedLM(lambda request: "yes")

    def ask(question: str) -> str:
        """Ask an LM."""
        return lm(question).text

    events: list[AnyEvent] = []
    with using(lm=lm, runtime=Runtime()), lmpipe.observing(events.append):
        await run_tool(lmpipe.Tool.of(ask), {"question": "well?"})
    asked = next(event for event in events if isinstance(event, LMStarted))
    assert asked.parent == events[0].id
    ended = events[-1]
    assert isinstance(ended, ToolEnded)
    assert ended.usage.total.calls == 1
