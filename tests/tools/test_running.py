"""`run_tool`: arguments are checked, and results and errors become what an LM sees."""

from __future__ import annotations

import asyncio
import copy
import functools
import threading
from collections.abc import Sequence
from datetime import date

import pydantic
import pytest
from helpers.pictures import png
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import JsonValue

import lmpipe
from lmpipe.errors import CallError, ConfigError, LMUnavailableError
from lmpipe.foundation.canonical_json import canonical_json
from lmpipe.foundation.exact_json import load_json
from lmpipe.lm.parts import MediaPart, TextPart
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.scope import scope
from lmpipe.lm.tool_store import Result, ToolUse
from lmpipe.state.trace import Trace
from lmpipe.tools.running import run_tool


class Forecast(pydantic.BaseModel):
    city: str
    degrees: float


class Stop(pydantic.BaseModel):
    station: str
    minutes: int = 5


def forecast(city: str, day: date, stops: list[Stop] | None = None) -> Forecast:
    """Tell the weather."""
    assert isinstance(day, date)
    assert all(isinstance(stop, Stop) for stop in stops or [])
    return Forecast(city=city, degrees=float(day.day))


async def test_arguments_arrive_in_the_types_of_the_function() -> None:
    arguments = {"city": "Rome", "day": "2026-03-07", "stops": [{"station": "Termini"}]}
    outcome = await run_tool(lmpipe.Tool.of(forecast), arguments)
    assert (outcome.text, outcome.error) == ('{"city":"Rome","degrees":7.0}', False)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"day": "2026-03-07"}, "city: Missing required argument"),
        ({"city": "Rome", "day": "soon"}, "day: Input should be a valid date"),
        ({"city": "Rome", "day": "2026-03-07", "hour": 3}, "hour: Unexpected keyword argument"),
        ({"city": "Rome", "day": "2026-03-07", "stops": [{}]}, "stops.0.station: Field required"),
    ],
)
async def test_wrong_arguments_are_an_error_that_names_them(
    arguments: dict[str, object], problem: str
) -> None:
    outcome = await run_tool(lmpipe.Tool.of(forecast), arguments)
    assert outcome.error
    assert problem in outcome.text


async def test_a_function_is_not_called_with_wrong_arguments() -> None:
    called: list[int] = []

    def count(number: int) -> None:
        called.append(number)

    await run_tool(lmpipe.Tool.of(count), {"number": "many"})
    assert called == []


async def test_an_async_function_is_awaited() -> None:
    async def double(number: int) -> int:
        return 2 * number

    assert (await run_tool(lmpipe.Tool.of(double), {"number": 4})).text == "8"


async def test_a_sync_function_runs_in_a_thread() -> None:
    def where() -> bool:
        return threading.current_thread() is threading.main_thread()

    assert (await run_tool(lmpipe.Tool.of(where), {})).text == "false"


async def test_a_parameter_may_have_any_name() -> None:
    def plot(function: str) -> str:
        return f"the curve of {function}"

    assert (await run_tool(lmpipe.Tool.of(plot), {"function": "sin"})).text == "the curve of sin"


class Counter:
    """Count from a number."""

    async def __call__(self, start: int) -> int:
        return start + 1


async def test_an_object_with_an_async_call_is_a_tool() -> None:
    tool = lmpipe.Tool.of(Counter(), name="count")
    assert (await run_tool(tool, {"start": "2"})).text == "3"


async def test_a_partial_function_is_a_tool() -> None:
    def add(first: int, second: int) -> int:
        return first + second

    tool = lmpipe.Tool.of(functools.partial(add, second=5), name="add_five")
    assert (await run_tool(tool, {"first": 2})).text == "7"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain text", "plain text"),
        (None, "(no result)"),
        ({"a": [1, 2.5, None]}, '{"a":[1,2.5,null]}'),
        ([Forecast(city="Rome", degrees=1)], '[{"city":"Rome","degrees":1.0}]'),
        ({date(2026, 3, 7)}, '["2026-03-07"]'),
        (iter, "<built-in function iter>"),
    ],
)
async def test_results_become_text(value: object, text: str) -> None:
    def give() -> object:
        return value

    assert (await run_tool(lmpipe.Tool.of(give), {})).text == text


async def test_a_result_that_no_lm_can_read_is_refused() -> None:
    class Handle: ...

    def open_it() -> object:
        return Handle()

    with pytest.raises(CallError, match="open_it returned an instance of Handle"):
        await run_tool(lmpipe.Tool.of(open_it), {})


async def test_an_image_is_a_part() -> None:
    def draw() -> Sequence[object]:
        return ["a dot", lmpipe.Image.of(png())]

    outcome = await run_tool(lmpipe.Tool.of(draw), {})
    assert outcome.parts == (TextPart("a dot"), MediaPart("image", "image/png", data=png()))
    assert outcome.as_result("call_1").content == outcome.parts


async def test_an_error_is_an_outcome() -> None:
    def divide(by: int) -> float:
        return 1 / by

    outcome = await run_tool(lmpipe.Tool.of(divide), {"by": 0})
    assert (outcome.text, outcome.error) == ("ZeroDivisionError: division by zero", True)


async def test_the_middle_of_a_long_error_is_left_out() -> None:
    def fail() -> None:
        raise ValueError("start " + 5000 * "x" + " end")

    outcome = await run_tool(lmpipe.Tool.of(fail), {}, error_limit=100)
    assert len(outcome.text) <= 104
    assert outcome.text.startswith("ValueError: start")
    assert outcome.text.endswith("end")


@pytest.mark.parametrize("error", [LMUnavailableError("down"), ConfigError("no key")])
async def test_errors_that_no_answer_can_mend_are_raised(error: Exception) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)):
        await run_tool(lmpipe.Tool.of(fail), {})


async def test_a_description_without_a_function_is_refused() -> None:
    with pytest.raises(CallError, match=r"Tool\.of"):
        await run_tool(lmpipe.Tool(name="search"), {})


async def test_a_tool_that_takes_longer_than_its_timeout_has_failed() -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    outcome = await run_tool(lmpipe.Tool.of(wait, timeout=0.01), {})
    assert outcome.error
    assert "took longer than 0.01 seconds" in outcome.text


async def test_a_fake_has_no_timeout() -> None:
    async def slow() -> str:
        await asyncio.sleep(0)  # a timeout would end it here
        return "done"

    tool = lmpipe.Tool.of(lambda: "real", name="act", effects=True, fake=slow, timeout=1e-9)
    with scope(evaluating=True):
        assert (await run_tool(tool, {})).text == "done"


async def test_a_copied_program_has_the_same_tool() -> None:
    lock = threading.Lock()  # which cannot be copied

    def locked() -> bool:
        return lock.locked()

    tool = copy.deepcopy(lmpipe.Tool.of(functools.partial(locked), name="locked"))
    assert (await run_tool(tool, {})).text == "false"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(value=JSON)
@settings(max_examples=50)
async def test_any_json_arrives_and_is_returned(value: JsonValue) -> None:
    def echo(value: JsonValue) -> JsonValue:
        return value

    with scope(trace=Trace()), lmpipe.using(runtime=Runtime(store=Keeping())):
        outcome = await run_tool(lmpipe.Tool.of(echo), {"value": value})
    assert not outcome.error
    outcome.text.encode()  # it can be sent


class Keeping:
    """A store that writes and reads results as files do."""

    replays_tools = True

    def find_tool_result(self, use: ToolUse) -> None:
        canonical_json(use.subject)

    def put_tool_result(self, use: ToolUse, result: Result) -> Result:
        read: Result = load_json(canonical_json(result))
        return read
