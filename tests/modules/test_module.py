"""Modules: the ways to run a program, and its traces and calls."""

from __future__ import annotations

import asyncio
import warnings
from typing import Any

import pytest
from helpers.echoing import AsyncOne, One, Parent, ask, echo, echoing

import lmpipe
from lmpipe.errors import ConfigError, LMUnavailableError, OutputError
from lmpipe.lm.request import Request
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.scope import scope
from lmpipe.lm.scripted import ScriptedLM
from lmpipe.lm.traffic.retry import RetryPolicy
from lmpipe.modules.module import run_traced
from lmpipe.settings import using
from lmpipe.state.trace import Trace

# --- running


def test_a_sync_forward_is_called() -> None:
    with echoing():
        assert One()("?") == "one ?"


def test_an_async_forward_is_called_from_plain_python() -> None:
    with echoing():
        assert AsyncOne()("?") == "async ?"


async def test_either_forward_is_awaited() -> None:
    with echoing():
        assert await One().acall("?") == "one ?"
        assert await AsyncOne().acall(question="?") == "async ?"


async def test_a_sync_call_inside_a_running_loop_works() -> None:
    # As in a notebook, where the caller's own event loop is running.
    with echoing():
        assert One()("?") == "one ?"
        assert AsyncOne()("?") == "async ?"
        assert ask("notebook")(question="?").answer == "notebook ?"
        assert One().batch([{"question": "?"}]) == ["one ?"]


async def test_many_calls_awaited_at_once() -> None:
    with echoing():
        answers = await asyncio.gather(*(AsyncOne().acall(str(n)) for n in range(100)))
    assert answers == [f"async {n}" for n in range(100)]


class Forgetful(lmpipe.Module):
    """Calls without await inside an async forward."""

    def __init__(self, way: str) -> None:
        self.way = way
        self.ask = ask()
        self.inner = AsyncOne()
        self.sync_inner = One()

    async def forward(self, question: str) -> Any:
        match self.way:
            case "predictor":
                return self.ask(question=question)
            case "async module":
                return self.inner(question)
            case "sync module":
                return self.sync_inner(question)
            case "samples":
                return self.ask.samples(2, question=question)
            case "batch":
                return self.inner.batch([{"question": question}])


@pytest.mark.parametrize("way", ["predictor", "async module", "sync module", "samples", "batch"])
def test_a_call_without_await_in_an_async_forward_is_refused(way: str) -> None:
    with echoing(), pytest.raises(ConfigError, match=r"without await.*write `await"):
        Forgetful(way)("?")


class NoForward(lmpipe.Module):
    pass


def test_a_module_without_forward_is_refused() -> None:
    program: Any = NoForward()
    with pytest.raises(ConfigError, match="NoForward has no forward"):
        program()


@pytest.mark.parametrize(
    ("text", "error"),
    [("", OutputError), (LMUnavailableError("down"), LMUnavailableError)],
)
def test_errors_reach_the_caller(text: Any, error: type[Exception]) -> None:
    def script(request: Request) -> str:
        if isinstance(text, Exception):
            raise text
        return str(text)

    with using(lm=ScriptedLM(script), runtime=Runtime(retry=RetryPolicy(attempts=1))):
        for program in (One(), AsyncOne()):
            with pytest.raises(error):
                program("?")
            with pytest.raises(error):
                program.batch([{"question": "?"}])


# --- traces, scopes and settings


async def test_a_traced_run_names_steps_by_path() -> None:
    program = Parent()
    trace = Trace()
    with echoing():
        result = await run_traced(program.bind(program.state()), {"question": "?"}, trace)
    assert result == "parent ? / parent ?"
    assert [step.predictor for step in trace.steps] == ["ask", "ask"]
    assert trace.calls == 2
    assert [step.outputs for step in trace.of("ask")] == [{"answer": "parent ?"}] * 2


async def test_concurrent_runs_have_their_own_traces() -> None:
    traces = [Trace() for _ in range(20)]
    with echoing():
        await asyncio.gather(
            *(run_traced(One(), {"question": str(n)}, trace) for n, trace in enumerate(traces)),
            *(
                run_traced(AsyncOne(), {"question": str(n)}, trace)
                for n, trace in enumerate(traces)
            ),
        )
    for number, trace in enumerate(traces):
        assert [step.inputs for step in trace.steps] == [{"question": str(number)}] * 2


async def test_settings_hold_in_threads_and_tasks() -> None:
    outer, inner = ScriptedLM(echo, name="outer"), ScriptedLM(echo, name="inner")
    with using(lm=outer, runtime=Runtime()):
        with using(lm=inner):
            await One().acall("?")
            await AsyncOne().acall("?")
            One().batch([{"question": "!"}])
        await One().acall("?")
    assert (len(outer.requests), len(inner.requests)) == (1, 3)


def test_a_scope_ends_with_its_block() -> None:
    trace = Trace()
    with echoing():
        with scope(trace=trace):
            One()("?")
        One()("?")
    assert len(trace.steps) == 1


@pytest.mark.parametrize("name", ["max_call", "maxcalls", "MAX_CALLS"])
def test_a_misspelled_setting_of_a_module_is_told(name: str) -> None:
    with pytest.warns(UserWarning, match=f"Loop.{name} has no effect; .*`max_calls`"):
        type("Loop", (lmpipe.Module,), {name: 3})


@pytest.mark.parametrize("name", ["max_calls", "max_hops", "calls", "max_cells"])
def test_other_attributes_of_a_module_are_not_mistaken_for_a_setting(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        type("Loop", (lmpipe.Module,), {name: 3})
