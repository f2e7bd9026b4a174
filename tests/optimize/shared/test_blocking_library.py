"""Blocking libraries that call back into the engine: errors and cancellation."""

from __future__ import annotations

import asyncio
import contextvars
import threading

import pytest

from lmpipe.errors import BudgetExhaustedError
from lmpipe.lm.concurrency.loop import run_sync
from lmpipe.optimize.shared.blocking_library import StepRunner, run_library


async def _spent() -> None:
    raise BudgetExhaustedError("the budget is used up")


async def _answer() -> int:
    return 7


def test_a_step_gives_its_result() -> None:
    assert run_sync(run_library(lambda steps: steps(_answer()) + 1)) == 8


def test_a_steps_error_is_raised_even_if_the_library_catches_it() -> None:
    def library(steps: StepRunner) -> str:
        try:
            steps(_spent())
        except BudgetExhaustedError:
            return "continued"
        return "never"

    with pytest.raises(BudgetExhaustedError, match="the budget is used up"):
        run_sync(run_library(library))


def test_a_steps_error_is_raised_even_if_the_library_wraps_it() -> None:
    def library(steps: StepRunner) -> None:
        try:
            steps(_spent())
        except Exception as error:
            raise RuntimeError("the library's error") from error

    with pytest.raises(BudgetExhaustedError):
        run_sync(run_library(library))


def test_no_step_runs_after_a_failed_one() -> None:
    done = []

    async def step() -> None:
        done.append(1)

    def library(steps: StepRunner) -> None:
        try:
            steps(_spent())
        except BudgetExhaustedError:
            steps(step())

    with pytest.raises(BudgetExhaustedError):
        run_sync(run_library(library))
    assert done == []


def test_the_librarys_own_error_is_raised() -> None:
    def library(steps: StepRunner) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_sync(run_library(library))


_setting: contextvars.ContextVar[str] = contextvars.ContextVar("setting", default="none")


def test_steps_run_in_the_callers_context() -> None:
    async def read() -> str:
        return _setting.get()

    async def outer() -> str:
        _setting.set("the caller's")
        return await run_library(lambda steps: steps(read()))

    assert run_sync(outer()) == "the caller's"


def test_if_the_caller_is_cancelled_the_thread_ends_at_its_step() -> None:
    ended = threading.Event()

    async def outer() -> None:
        begun = asyncio.Event()

        async def forever() -> None:
            begun.set()
            await asyncio.Event().wait()

        def library(steps: StepRunner) -> None:
            try:
                steps(forever())
            finally:
                ended.set()

        running = asyncio.create_task(run_library(library))
        await begun.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    run_sync(outer())
    assert ended.wait(10)
