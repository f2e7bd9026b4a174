"""Waiting for something for a limited time."""

from __future__ import annotations

import asyncio

import pytest

from lmpipe.foundation.time_limits import within


class LateError(Exception):
    """The error of these tests for time that is up."""


async def result() -> str:
    return "result"


@pytest.mark.parametrize("seconds", [None, 60.0])
async def test_a_result_in_time_is_returned(seconds: float | None) -> None:
    assert await within(seconds, result(), late=LateError) == "result"


async def test_time_that_is_up_is_the_error_that_was_given() -> None:
    with pytest.raises(LateError) as caught:
        await within(0.01, asyncio.Event().wait(), late=LateError)
    assert caught.value.__suppress_context__


async def test_a_cancellation_that_becomes_another_error_is_late_too() -> None:
    async def misbehave() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise KeyError("mine") from None

    with pytest.raises(LateError) as caught:
        await within(0.01, misbehave(), late=LateError)
    assert isinstance(caught.value.__cause__, KeyError)


async def test_a_timeout_of_something_else_passes_through() -> None:
    async def fail() -> None:
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine"):
        await within(60.0, fail(), late=LateError)


async def test_a_cancelled_caller_is_cancelled() -> None:
    task = asyncio.create_task(within(60.0, asyncio.Event().wait(), late=LateError))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
