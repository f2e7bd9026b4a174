"""`Parallel`: different programs on different rows."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import pytest
from helpers.echoing import AsyncOne, One, ask, echoing
from helpers.virtual_time import in_virtual_time

import lmpipe
from lmpipe.errors import CallError, ConfigError, LMUnavailableError, RunTimeoutError
from lmpipe.lm.request import Request
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.traffic.retry import RetryPolicy
from lmpipe.modules.module import run_traced
from lmpipe.settings import using
from lmpipe.state.trace import Trace


class Fails(lmpipe.Module):
    def forward(self, question: str) -> str:
        raise ValueError(question)


class Hangs(lmpipe.Module):
    async def forward(self, question: str) -> str:
        await asyncio.Event().wait()
        return question


class Repeats(lmpipe.Module):
    async def forward(self, question: str) -> str:
        return question


def pairs() -> list[Any]:
    row = lmpipe.Example(question="b", answer="gold").with_inputs("question")
    return [(One("one"), {"question": "a"}), (AsyncOne(), row), (ask("ask"), {"question": "c"})]


def texts(results: list[Any]) -> list[str]:
    return [str(getattr(item, "answer", item)) for item in results]


async def test_each_program_runs_on_its_row() -> None:
    expected = ["one a", "async b", "ask c"]
    with echoing():
        assert texts(lmpipe.Parallel()(pairs())) == expected
        assert texts(await lmpipe.Parallel(concurrency=1).acall(pairs())) == expected
    assert lmpipe.Parallel()([]) == []


def test_a_run_that_fails_does_not_stop_the_others() -> None:
    with echoing():
        results = lmpipe.Parallel()([(Fails(), {"question": "why"}), *pairs()])
    assert isinstance(results[0], ValueError)
    assert texts(results)[1:] == ["one a", "async b", "ask c"]


def test_wrong_inputs_of_a_row_are_its_error() -> None:
    with echoing():
        (result,) = lmpipe.Parallel()([(ask(), {"query": "a"})])
    assert isinstance(result, CallError)


def test_a_run_that_takes_too_long_is_stopped() -> None:
    given: list[Any] = [(Hangs(), {"question": "a"}), (Repeats(), {"question": "b"})]
    slow, quick = in_virtual_time(lmpipe.Parallel(timeout=30).acall(given))
    assert isinstance(slow, RunTimeoutError)
    assert str(slow).startswith("pair 1, Hangs, took longer than its timeout of 30 seconds")
    assert quick == "b"


class Both(lmpipe.Module):
    """The second part ends first."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.first, self.second = Waits(self.ended), Tells(self.ended)
        self.parallel = lmpipe.Parallel()

    async def forward(self, question: str) -> str:
        row = {"question": question}
        return " / ".join(texts(await self.parallel.acall([(self.first, row), (self.second, row)])))


class Waits(lmpipe.Module):
    def __init__(self, ended: asyncio.Event) -> None:
        self.ended, self.ask = ended, ask("first")

    async def forward(self, question: str) -> str:
        await self.ended.wait()
        return str((await self.ask.acall(question=question)).answer)


class Tells(lmpipe.Module):
    def __init__(self, ended: asyncio.Event) -> None:
        self.ended, self.ask = ended, ask("second")

    async def forward(self, question: str) -> str:
        answer = str((await self.ask.acall(question=question)).answer)
        self.ended.set()
        return answer


async def test_inside_a_program_steps_and_calls_have_the_order_of_the_pairs() -> None:
    program, trace, calls = Both(), Trace(), list[Any]()
    bound = program.bind(program.state())
    with echoing():
        result = await run_traced(bound, {"question": "?"}, trace, calls=calls)
    assert result == "first ? / second ?"
    assert [step.predictor for step in trace.steps] == ["first.ask", "second.ask"]
    assert [call.label for call in calls] == ["first.ask", "second.ask"]
    assert program.calls_per_run() == 4


def down(request: Request) -> str:
    raise LMUnavailableError("down")


def test_an_outage_stops_a_program_that_is_evaluated() -> None:
    class Asks(lmpipe.Module):
        def __init__(self) -> None:
            self.ask = ask()
            self.parallel = lmpipe.Parallel()

        def forward(self, question: str) -> int:
            return len(self.parallel([(self.ask, {"question": question})]))

    rows = [lmpipe.Example(question="a", answer=1).with_inputs("question")]
    lm, runtime = lmpipe.ScriptedLM(down), Runtime(retry=RetryPolicy(attempts=1))
    with using(lm=lm, runtime=runtime):
        assert Asks()(question="a") == 1
        with pytest.raises(LMUnavailableError):
            lmpipe.evaluate(Asks(), rows, lambda example, prediction: 1.0)


def test_it_is_a_value() -> None:
    made = lmpipe.Parallel(concurrency=3, timeout=2)
    assert pickle.loads(pickle.dumps(made)) == made


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([ask()], "pair 1 is .*; give pairs of a program and its inputs"),
        ([(ask(), {}, 3)], "pair 1 is"),
        ([(ask, {"question": "a"})], "give an instance of a lmpipe.Module"),
        ([(ask(), "a")], "the row of pair 1 is 'a'; give each row as a mapping"),
    ],
)
def test_wrong_pairs_are_refused(given: Any, message: str) -> None:
    with pytest.raises(CallError, match=message):
        lmpipe.Parallel()(given)


@pytest.mark.parametrize("options", [{"concurrency": 0}, {"timeout": -1.0}])
def test_wrong_options_are_refused(options: Any) -> None:
    with pytest.raises(ConfigError, match="must be"):
        lmpipe.Parallel(**options)
