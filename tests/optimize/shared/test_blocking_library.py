"""Blocking libraries that call the engine back: errors come out, cancellation ends them."""

from __future__ import annotations

import asyncio
import contextvars
import threading

import pytest

from lmpipe.errors import BudgetExhaustedError
from lmpipe.lm.concurrency.loop import run_sync
from lmpipe.optimize.shared.blocking_library import StepRunner, run_library


async def _spent() -> None:
    raise BudgetExhaustedError("nothing is left")


async def _answer() -> int:
    return 7


def test_a_step_gives_its_result() -> None:
    assert run_sync(run_library(lambda steps: steps(_answer()) + 1)) == 8


def test_an_error_of_a_step_comes_out_where_the_library_caught_it() -> None:
    def library(steps: StepRunner) -> str:
        try:
            steps(_spent())
        except BudgetExhaustedError:
            return "went on"
        return "never"

    with pytest.raises(BudgetExhaustedError, match="nothing is left"):
        run_sync(run_library(library))


def test_an_error_of_a_step_comes_out_where_the_library_made_another_one_of_it() -> None:
    def library(steps: StepRunner) -> None:
        try:
            steps(_spent())
        except Exception as error:
            raise RuntimeError("a library's own") from error

    with pytest.raises(BudgetExhaustedError):
        run_sync(run_library(library))


def test_no_step_is_done_after_one_that_failed() -> None:
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


def test_the_librarys_own_error_comes_out() -> None:
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


def test_a_cancelled_caller_ends_the_thread_at_its_step() -> None:
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
