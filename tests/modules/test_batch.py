"""`batch`: many rows at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from helpers.echoing import AsyncOne, One, ask, echoing

import lmpipe
from lmpipe.errors import (
    CallError,
    ConfigError,
    LMUnavailableError,
    OutputError,
    RunTimeoutError,
)
from lmpipe.lm.request import Request
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.traffic.retry import RetryPolicy
from lmpipe.settings import using


@pytest.mark.parametrize("program", [One("x"), AsyncOne(), ask("x")])
def test_batch_keeps_the_order_of_rows(program: Any) -> None:
    with echoing():
        answers = program.batch({"question": str(n)} for n in range(50))
    texts = [getattr(answer, "answer", answer) for answer in answers]
    assert [text.split()[1] for text in texts] == [str(n) for n in range(50)]


def test_batch_of_nothing_is_nothing() -> None:
    assert One().batch([]) == []


class Counting(lmpipe.Module):
    def __init__(self) -> None:
        self.running = 0
        self.most = 0

    async def forward(self, n: int) -> int:
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0)
        self.running -= 1
        return n


def test_batch_runs_as_many_at_a_time_as_allowed() -> None:
    program = Counting()
    program.batch(({"n": n} for n in range(20)), concurrency=4)
    assert program.most == 4


def test_batch_needs_some_concurrency() -> None:
    with pytest.raises(ConfigError, match="concurrency must be 1 or more"):
        Counting().batch([{"n": 1}], concurrency=0)


class Fails(lmpipe.Module):
    def __init__(self) -> None:
        self.cancelled: list[int] = []

    async def forward(self, n: int) -> None:
        if n == 3:
            raise ValueError("three")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.append(n)
            raise


def test_batch_stops_at_the_first_error() -> None:
    program = Fails()
    with pytest.raises(ValueError, match="three"):
        program.batch({"n": n} for n in range(6))
    assert sorted(program.cancelled) == [0, 1, 2, 4, 5]


def test_batch_takes_examples_and_passes_on_their_inputs() -> None:
    rows = [lmpipe.Example(question=str(n), answer="gold").with_inputs("question") for n in (1, 2)]
    with echoing():
        answers = One("x").batch(rows)
    assert len(answers) == 2


def test_a_batch_of_something_else_says_what_a_row_is() -> None:
    rows: Any = [{"question": "a"}, "b"]
    with pytest.raises(CallError, match=r"batch: row 2 is 'b'; give each row as a mapping"):
        One("x").batch(rows)


def test_a_batch_of_one_row_without_a_list_says_so() -> None:
    program = One("x")
    single: list[Any] = [lmpipe.Example(question="a"), {"question": "a"}]
    for row in single:
        with pytest.raises(CallError, match=r"question.* is one row; give a list of rows"):
            program.batch(row)


# --- errors that are kept


class Odd(lmpipe.Module):
    """Fails on even numbers."""

    def forward(self, n: int) -> int:
        if n % 2 == 0:
            raise ValueError(f"{n} is even")
        return n


class AsyncOdd(lmpipe.Module):
    async def forward(self, n: int) -> int:
        return Odd().forward(n)


@pytest.mark.parametrize("program", [Odd(), AsyncOdd()])
def test_a_kept_error_takes_the_place_of_its_result(program: Any) -> None:
    results = program.batch(({"n": n} for n in range(4)), on_error="keep")
    assert [item if isinstance(item, int) else str(item) for item in results] == [
        "0 is even",
        1,
        "2 is even",
        3,
    ]
    assert isinstance(results[0], ValueError)


def test_unreadable_replies_are_kept_too() -> None:
    lm = lmpipe.ScriptedLM(lambda request: request.messages[1].text.split()[1])
    with lmpipe.using(lm=lm):
        program = lmpipe.Predict("text -> number: int", layout="plain")
        first, second = program.batch([{"text": "1"}, {"text": "one"}], on_error="keep")
    assert isinstance(first, lmpipe.Prediction)
    assert isinstance(second, OutputError)


def unavailable(request: Request) -> str:
    raise LMUnavailableError("down")


def while_down() -> Any:
    runtime = Runtime(retry=RetryPolicy(attempts=1))
    return using(lm=lmpipe.ScriptedLM(unavailable, name="down"), runtime=runtime)


def test_an_outage_is_kept_by_a_caller() -> None:
    with while_down():
        (result,) = ask().batch([{"question": "a"}], on_error="keep")
    assert isinstance(result, LMUnavailableError)


def test_an_outage_stops_a_program_that_is_evaluated() -> None:
    class Batches(lmpipe.Module):
        max_calls = 2

        def __init__(self) -> None:
            self.ask = ask()

        def forward(self, question: str) -> int:
            return len(self.ask.batch([{"question": question}], on_error="keep"))

    rows = [lmpipe.Example(question="a", answer=1).with_inputs("question")]
    with while_down(), pytest.raises(LMUnavailableError):
        lmpipe.evaluate(Batches(), rows, lambda example, prediction: 1.0)


# --- timeouts


class Hangs(lmpipe.Module):
    async def forward(self, n: int) -> int:
        if n == 1:
            await asyncio.Event().wait()
        return n


class HangsInThread(lmpipe.Module):
    def __init__(self) -> None:
        self.inner = Hangs()

    def forward(self, n: int) -> int:
        return self.inner(n=n)


@pytest.mark.parametrize("program", [Hangs(), HangsInThread()])
def test_a_row_that_takes_too_long_is_stopped(program: Any) -> None:
    results = program.batch([{"n": 1}] * 2, timeout=0.05, on_error="keep")
    assert [type(result) for result in results] == [RunTimeoutError] * 2
    assert str(results[1]).startswith("row 2 took longer than its timeout of 0.05 seconds")
    assert program.batch([{"n": 2}], timeout=60) == [2]


def test_a_row_that_takes_too_long_is_an_error() -> None:
    with pytest.raises(TimeoutError, match="row 1 took longer"):
        Hangs().batch([{"n": 1}], timeout=0.05)


def test_wrong_options_are_refused() -> None:
    program: Any = Odd()
    with pytest.raises(ConfigError, match="on_error must be one of 'raise', 'keep'"):
        program.batch([{"n": 1}], on_error="ignore")
    with pytest.raises(ConfigError, match="timeout must be above 0"):
        program.batch([{"n": 1}], timeout=0)
