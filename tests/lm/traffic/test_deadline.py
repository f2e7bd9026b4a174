"""The deadline of the LM calls in a block."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor

import pytest

import lmpipe
from lmpipe.errors import ConfigError, DeadlineError
from lmpipe.lm.concurrency import loop
from lmpipe.lm.message import Message
from lmpipe.lm.request import Reply, Request
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.scripted import ScriptedLM
from lmpipe.lm.traffic.deadline import before_deadline, check_deadline, deadline
from lmpipe.settings import current_settings

LATER = 0.05  # seconds until the deadlines of these tests


class Gated(ScriptedLM):
    """Answers once the gate is open."""

    def __init__(self) -> None:
        super().__init__(lambda request: "## answer\nyes")
        self.__dict__["gate"] = asyncio.Event()

    gate: asyncio.Event

    async def complete(self, request: Request, **options: object) -> Reply:
        await self.gate.wait()
        return await super().complete(request)


def request(lm: ScriptedLM) -> Request:
    return Request(lm, (Message("user", "x"),))


def runtime() -> Runtime:
    """The runtime of this test, which a fixture closes."""
    return current_settings().runtime


async def passed() -> None:
    """Wait until the current deadline has passed."""
    with contextlib.suppress(DeadlineError):
        await before_deadline(asyncio.Event().wait)


def test_a_blocking_call_ends_at_the_deadline() -> None:
    with deadline(LATER), pytest.raises(DeadlineError, match=r"the deadline of 0\.05 seconds"):
        runtime().complete(request(Gated()))


async def test_an_awaited_call_ends_at_the_deadline() -> None:
    with deadline(LATER), pytest.raises(DeadlineError):
        await runtime().acomplete(request(Gated()))


async def test_no_call_starts_after_the_deadline() -> None:
    lm = ScriptedLM(["a"])
    with deadline(LATER):
        await passed()
        with pytest.raises(DeadlineError):
            await runtime().acomplete(request(lm))
    assert lm.requests == []
    assert (await runtime().acomplete(request(lm))).text == "a"


async def test_of_nested_deadlines_the_earlier_one_applies() -> None:
    with deadline(LATER), deadline(100):
        await passed()
        with pytest.raises(DeadlineError, match=r"0\.05 seconds"):
            check_deadline()
    with deadline(100):
        with deadline(LATER):
            await passed()
        check_deadline()


def test_one_callers_deadline_does_not_affect_others_with_the_same_request() -> None:
    async def scenario() -> None:
        lm = Gated()

        async def hurried() -> Reply:
            with deadline(LATER):
                return await runtime().acomplete(request(lm))

        first = asyncio.create_task(hurried())
        await asyncio.sleep(0)
        second = asyncio.create_task(runtime().acomplete(request(lm)))
        with pytest.raises(DeadlineError):
            await first
        lm.gate.set()
        assert (await second).text
        assert len(lm.requests) == 1

    loop.run_sync(scenario())


def test_threads_of_sync_forwards_inherit_the_deadline() -> None:
    class Program(lmpipe.Module):
        def __init__(self) -> None:
            self.answer = lmpipe.Predict("question -> answer")

        def forward(self, question: str) -> object:
            return self.answer(question=question)

    rows = [{"question": str(number)} for number in range(4)]
    with lmpipe.using(lm=Gated(), deadline=LATER), pytest.raises(DeadlineError):
        Program().batch(rows)


def test_other_threads_have_no_deadline() -> None:
    with deadline(1e-9), ThreadPoolExecutor(1) as pool:
        pool.submit(check_deadline).result()


async def test_another_timeout_is_not_the_deadline() -> None:
    async def fails() -> None:
        raise TimeoutError("mine")

    with deadline(100), pytest.raises(TimeoutError, match="mine"):
        await before_deadline(fails)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), "1"])
def test_a_deadline_that_is_invalid_is_refused(seconds: float) -> None:
    with pytest.raises(ConfigError, match="deadline must be"), lmpipe.using(deadline=seconds):
        pass
