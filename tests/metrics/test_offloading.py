"""Slow sync metrics run in threads, so that LM calls go on."""

from __future__ import annotations

import asyncio
import threading
import time
from contextvars import ContextVar
from typing import Any

import pytest

import lmpipe
from lmpipe.metrics import bind_metric
from lmpipe.metrics.offloading import Offloaded

ROW = lmpipe.Example(q="a", a="b").with_inputs("q")
WHO: ContextVar[str] = ContextVar("WHO")


def slow() -> None:
    """Compute for a few milliseconds, which is slow for a metric."""
    end = time.perf_counter() + 0.003
    while time.perf_counter() < end:
        pass


async def test_slow_sync_metrics_do_not_hold_up_the_event_loop() -> None:
    turns = threading.Event()
    here = threading.get_ident()

    def waits(example: lmpipe.Example, prediction: Any) -> bool:
        if threading.get_ident() == here:
            slow()
            return True
        # On the event loop this would wait for ever: nothing else could set the event.
        return turns.wait(timeout=60)

    metric = bind_metric(waits)
    for _ in range(2):
        assert (await metric(ROW, None)).value == 1
    scoring = [asyncio.ensure_future(metric(ROW, None)) for _ in range(8)]
    await asyncio.sleep(0)
    turns.set()
    assert [score.value for score in await asyncio.gather(*scoring)] == [1.0] * 8


async def test_a_fast_metric_runs_on_the_event_loop() -> None:
    threads = set()

    def fast(example: lmpipe.Example, prediction: Any) -> bool:
        threads.add(threading.get_ident())
        return True

    metric = bind_metric(fast)
    for _ in range(3):
        await metric(ROW, None)
    assert threads == {threading.get_ident()}


async def test_one_slow_call_such_as_an_interrupted_one_does_not_move_a_metric_to_threads() -> None:
    threads = []

    def function(work: bool) -> None:
        threads.append(threading.get_ident())
        if work:
            slow()

    call = Offloaded(function)
    await call(True)
    await call(False)
    assert threads == [threading.get_ident()] * 2


async def test_a_metric_that_was_slow_for_a_while_returns_to_the_event_loop() -> None:
    threads = []

    def function(work: bool) -> None:
        threads.append(threading.get_ident())
        if work:
            slow()

    call, here = Offloaded(function), threading.get_ident()
    for _ in range(2):
        await call(True)
    while True:  # a busy machine may make a call look slow again
        await call(False)
        if threads[-1] == here:
            break
    assert threads[2] != here


async def test_threads_have_the_context_of_the_caller() -> None:
    def function(work: bool) -> str:
        if work:
            slow()
        return WHO.get()

    call = Offloaded(function)
    WHO.set("the caller")
    for _ in range(2):
        await call(True)
    assert await call(True) == "the caller"


@pytest.mark.parametrize("error", [ValueError("no"), KeyError("a"), StopIteration("end")])
async def test_exceptions_in_threads_are_those_on_the_event_loop(error: Exception) -> None:
    def function() -> None:
        slow()
        raise error

    call, found = Offloaded(function), []
    for _ in range(3):
        with pytest.raises(Exception, match=r"no|a|end") as raised:
            await call()
        found.append(type(raised.value))
    assert found[0] == found[1] == found[2]


def test_an_evaluation_scores_slow_metrics_at_the_same_time() -> None:
    together = threading.Barrier(4, timeout=60)

    def meets(example: lmpipe.Example, prediction: Any) -> bool:
        if threading.current_thread().name.startswith("lmpipe-metric"):
            together.wait()
        else:
            slow()
        return True

    program = lmpipe.Predict("q -> a")
    lm = lmpipe.ScriptedLM(lambda _: "## a\nb")
    rows = [ROW] * 6
    # The first two rows are scored on the event loop; the other four meet, each in a thread.
    evaluation = lmpipe.evaluate(program, rows, meets, lm=lm)
    assert evaluation.score == 1
    assert not together.broken
