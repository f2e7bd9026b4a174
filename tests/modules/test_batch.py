"""`batch`: many rows at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from helpers.echoing import AsyncOne, One, ask, echoing

import lmpipe
from lmpipe.errors import CallError, ConfigError


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
