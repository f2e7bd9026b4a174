"""`track_usage`: what a block of code used, under any concurrency."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from helpers.fake_server import FakeServer
from helpers.world import recipe
from hypothesis import given
from hypothesis import strategies as st

import lmpipe
from lmpipe import track_usage
from lmpipe.errors import LMRequestError
from lmpipe.lm.cache.cache import Cache
from lmpipe.lm.lm import LM
from lmpipe.lm.metering import TrackedUsage
from lmpipe.lm.request import Reply
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.spend import Account
from lmpipe.settings import using
from lmpipe.state.usage import Usage


class Ask(lmpipe.Signature):
    """Answer."""

    question: str = lmpipe.Input()
    answer: str = lmpipe.Output()


def scripted(name: str = "scripted", *, price: Any = None) -> lmpipe.ScriptedLM:
    """An LM whose replies take 10 prompt tokens, 4 of them cached, and 2 for the reply."""
    reply = Reply("## answer\nyes", usage=Usage(10, 2, 4))
    return lmpipe.ScriptedLM(lambda request: reply, name=name, price=price)


class Two(lmpipe.Module):
    def __init__(self) -> None:
        self.first = lmpipe.Predict(Ask)
        self.second = lmpipe.Predict(Ask)

    def forward(self, question: str) -> Ask:
        self.first(question=question)
        return self.second(question=question + "?")


class AsyncTwo(Two):
    async def forward(self, question: str) -> Ask:  # type: ignore[override]
        await self.first.acall(question=question)
        return await self.second.acall(question=question + "?")


def test_a_block_counts_calls_tokens_and_dollars_by_lm() -> None:
    dear, free = scripted("dear", price=(1, 2, 0.5)), scripted("free")
    with track_usage() as usage:
        dear("a")
        dear("b")
        free("c")
    spent = usage.by_lm["scripted/dear"]
    assert (spent.calls, spent.fresh_calls, spent.usage) == (2, 2, Usage(20, 4, 8))
    assert spent.usd == pytest.approx(2 * (6 * 1 + 4 * 0.5 + 2 * 2) / 1e6)
    assert usage.by_lm["scripted/free"].calls == 1
    assert (usage.total.calls, usage.total.tokens) == (3, 36)


def test_an_unknown_price_is_unknown_and_not_zero() -> None:
    with FakeServer("echo") as server, track_usage() as usage:
        lmpipe.LM("vllm/fake", base_url=server.base_url)("hello")
    assert usage.by_lm["vllm/fake"].usd is None


def test_cached_calls_are_calls_but_not_fresh_ones(tmp_path: Path) -> None:
    lm = scripted()
    with using(runtime=Runtime(store=Cache(tmp_path))), track_usage() as usage:
        lm("a")
        lm("a")
    assert (usage.total.calls, usage.total.fresh_calls) == (2, 1)


def test_a_block_counts_by_predictor_and_role() -> None:
    with using(lm=scripted()), track_usage() as usage:
        program = Two()
        program.bind(program.state())(question="a")
    assert {path: spend.calls for path, spend in usage.by_predictor.items()} == {
        "first": 1,
        "second": 1,
    }
    assert list(usage.by_role) == ["task"]


def test_retries_of_unreadable_replies_count() -> None:
    lm = lmpipe.ScriptedLM(["what?", "## answer\nyes"])
    with using(lm=lm), track_usage() as usage:
        lmpipe.Predict("question -> answer: Literal['yes', 'no']")(question="a")
    assert usage.total.calls == 2


def test_calls_outside_of_the_block_do_not_count() -> None:
    lm = scripted()
    lm("before")
    with track_usage() as usage:
        pass
    lm("after")
    assert usage.total.calls == 0


def test_a_block_that_raises_has_counted_what_came_before() -> None:
    lm = lmpipe.ScriptedLM(["one"])
    with pytest.raises(LMRequestError), track_usage() as usage:
        lm.batch(["a", "b"], concurrency=1)
    assert usage.total.calls == 1


def test_a_call_counts_in_all_blocks_around_it() -> None:
    lm = scripted()
    with track_usage() as outer:
        lm("a")
        with track_usage() as inner:
            lm("b")
        lm("c")
    assert (outer.total.calls, inner.total.calls) == (3, 1)


@pytest.mark.parametrize("program", [Two(), AsyncTwo()], ids=["sync", "async"])
def test_64_runs_in_flight_are_all_counted(program: Any) -> None:
    with FakeServer(lambda body: "## answer\nyes", latency=0.01) as server:
        lm = lmpipe.LM("vllm/fake", base_url=server.base_url)
        with using(lm=lm), track_usage() as usage:
            program.batch([{"question": f"{number}"} for number in range(64)], concurrency=64)
        assert server.max_in_flight > 1
    assert (usage.total.calls, usage.total.fresh_calls) == (128, 128)


def test_an_evaluation_inside_the_block_counts() -> None:
    examples = [
        lmpipe.Example(question=f"{number}", answer="yes").with_inputs("question")
        for number in range(20)
    ]
    with using(lm=scripted()), track_usage() as usage:
        result = lmpipe.evaluate(Two(), examples, lambda e, p: p.answer == e.answer)
    assert usage.total.calls == result.calls == 40
    assert usage.total.usage == result.usage


def test_a_compile_inside_the_block_counts(tmp_path: Path) -> None:
    with track_usage() as usage:
        run = lmpipe.compile(recipe(), runs=tmp_path)
    assert usage.total.calls == run.account.total.calls > 0
    assert usage.by_lm == run.account.by_lm


def test_samples_count() -> None:
    with using(lm=scripted()), track_usage() as usage:
        lmpipe.Predict(Ask).samples(5, question="a")
    assert usage.total.calls == 5


def test_a_stream_counts_in_the_block_that_started_it() -> None:
    with using(lm=scripted()), track_usage() as usage:
        list(Two().stream(question="a"))
    assert usage.total.calls == 2


def test_blocks_in_two_tasks_count_only_their_own_calls() -> None:
    lm = scripted()

    async def count(number: int, others: asyncio.Barrier) -> int:
        with track_usage() as usage:
            await others.wait()  # so that both blocks are open
            await asyncio.gather(*(lm.acall(f"{number}-{i}") for i in range(number)))
            await others.wait()
        return usage.total.calls

    async def both() -> list[int]:
        barrier = asyncio.Barrier(2)
        return list(await asyncio.gather(count(3, barrier), count(5, barrier)))

    assert asyncio.run(both()) == [3, 5]


def test_blocks_in_two_threads_count_only_their_own_calls() -> None:
    lm, barrier = scripted(), threading.Barrier(2)

    def count(number: int) -> int:
        with track_usage() as usage:
            barrier.wait(10)
            for i in range(number):
                lm(f"{number}-{i}")
            barrier.wait(10)
        return usage.total.calls

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(count, [3, 5])) == [3, 5]


def test_threads_with_a_copy_of_the_context_count() -> None:
    lm = scripted()
    with track_usage() as usage, ThreadPoolExecutor(8) as pool:
        futures = [
            pool.submit(contextvars.copy_context().run, lm, f"{number}") for number in range(64)
        ]
        for future in futures:
            future.result()
    assert usage.total.calls == 64


def test_the_usage_can_be_read_while_other_threads_add_to_it() -> None:
    lm, done = scripted(), threading.Event()
    with track_usage() as usage:
        context = contextvars.copy_context()

        def ask() -> None:
            for number in range(300):
                lm(f"{number}")
            done.set()

        thread = threading.Thread(target=context.run, args=(ask,))
        thread.start()
        seen = []
        while not done.is_set():
            seen.append(sum(spend.calls for spend in usage.by_lm.values()))
        thread.join()
    assert seen == sorted(seen)
    assert usage.total.calls == 300


@given(st.lists(st.integers(0, 4), max_size=6))
def test_the_sum_of_nested_blocks_is_what_the_outer_one_counts(calls: list[int]) -> None:
    lm = scripted()
    inner_calls = 0
    with track_usage() as outer:
        for block, number in enumerate(calls):
            with track_usage() as inner:
                lm.batch([f"{block}-{i}" for i in range(number)])
            inner_calls += inner.total.calls
    assert outer.total.calls == inner_calls == sum(calls)


def test_it_prints_a_line_for_each_lm() -> None:
    with track_usage() as usage:
        assert str(usage) == "no LM calls"
        scripted("dear", price=(1, 2, 0.5))("a")
    assert str(usage) == (
        "scripted/dear: 1 call (1 fresh), 12 tokens: 10 prompt (4 of them cached), 2 completion; "
        "$0.000012"
    )


def test_another_account_can_take_it_over_while_it_grows() -> None:
    usage = TrackedUsage()
    lm = LM("vllm/m", base_url="http://localhost/v1", price=(1, 2))

    def grow() -> None:
        for number in range(3000):
            usage.charge([(f"path{number}", "task", lm, Usage(1, 1), False, 1)])

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor() as threads:
            growing = threads.submit(grow)
            while not growing.done():
                Account().merge(usage)
            growing.result()
    finally:
        sys.setswitchinterval(before)
    whole = Account()
    whole.merge(usage)
    assert whole.total == usage.total
