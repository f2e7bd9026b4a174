"""Timeouts with one timer, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from helpers.virtual_time import in_virtual_time, now

from lmpipe.lm.http.timeouts import Timeouts


def scenario(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test in virtual time."""

    def run() -> None:
        in_virtual_time(test())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


async def sleep(timeouts: Timeouts, seconds: float, *, within: float) -> float:
    """Sleep with a timeout; returns the time at which it ended."""
    try:
        with timeouts.within(within):
            await asyncio.sleep(seconds)
    except TimeoutError:
        return -now()
    return now()


def on_this_loop() -> Timeouts:
    return Timeouts(asyncio.get_running_loop())


@scenario
async def test_a_block_ends_at_its_timeout() -> None:
    assert await sleep(on_this_loop(), 99, within=10) == pytest.approx(-10, abs=0.01)


@scenario
async def test_blocks_one_after_the_other_have_their_own_timeouts() -> None:
    timeouts = on_this_loop()
    assert await sleep(timeouts, 1, within=600) == pytest.approx(1, abs=0.01)
    assert await sleep(timeouts, 99, within=10) == pytest.approx(-11, abs=0.01)
    assert await sleep(timeouts, 50, within=60) == pytest.approx(61, abs=0.01)


@scenario
async def test_blocks_at_once_have_their_own_timeouts() -> None:
    timeouts = on_this_loop()
    blocks = [(99, 30), (99, 10), (5, 600), (99, 20), (40, 50)]
    ends = await asyncio.gather(*(sleep(timeouts, s, within=limit) for s, limit in blocks))
    assert ends == pytest.approx([-30, -10, 5, -20, 40], abs=0.01)


@scenario
async def test_nested_blocks_end_at_the_earlier_timeout() -> None:
    timeouts = on_this_loop()
    with pytest.raises(TimeoutError), timeouts.within(10):
        assert await sleep(timeouts, 99, within=60)
    assert now() == pytest.approx(10, abs=0.01)


@scenario
async def test_a_cancellation_of_the_task_is_not_a_timeout() -> None:
    task = asyncio.create_task(sleep(on_this_loop(), 99, within=60))
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@scenario
async def test_an_error_of_the_block_passes_through() -> None:
    with pytest.raises(KeyError), on_this_loop().within(60):
        raise KeyError


@scenario
async def test_a_task_may_go_on_after_a_timeout() -> None:
    await sleep(on_this_loop(), 99, within=10)
    await asyncio.sleep(5)
    assert now() == pytest.approx(15, abs=0.01)
