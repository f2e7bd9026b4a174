"""Equal work that is wanted at the same time is done once."""

from __future__ import annotations

import asyncio

import pytest

from lmpipe.lm.concurrency.joined import Joined


class Work:
    """Work that ends when it is told to."""

    def __init__(self) -> None:
        self.begun = 0
        self.may_end = asyncio.Event()
        self.error: BaseException | None = None

    async def __call__(self) -> int:
        self.begun += 1
        await self.may_end.wait()
        if self.error is not None:
            raise self.error
        return self.begun


async def begin(joined: Joined[int], work: Work, key: str = "a") -> asyncio.Task[tuple[int, bool]]:
    task = asyncio.create_task(joined.do(key, work))
    await asyncio.sleep(0)
    return task


async def test_the_second_caller_gets_the_result_of_the_first() -> None:
    joined, work = Joined[int](), Work()
    callers = [await begin(joined, work) for _ in range(3)]
    work.may_end.set()
    assert await asyncio.gather(*callers) == [(1, False), (1, True), (1, True)]
    assert await joined.do("a", work) == (2, False)


async def test_other_work_is_done_beside_it() -> None:
    joined, work = Joined[int](), Work()
    await begin(joined, work, "a")
    await begin(joined, work, "b")
    assert work.begun == 2
    work.may_end.set()


async def test_an_error_reaches_all_callers() -> None:
    joined, work = Joined[int](), Work()
    callers = [await begin(joined, work) for _ in range(2)]
    work.error = ValueError("wrong")
    work.may_end.set()
    ended = await asyncio.gather(*callers, return_exceptions=True)
    assert [str(error) for error in ended] == ["wrong", "wrong"]
    assert work.begun == 1


async def test_if_the_first_caller_is_cancelled_the_second_does_the_work() -> None:
    joined, work = Joined[int](), Work()
    first, second = [await begin(joined, work) for _ in range(2)]
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    work.may_end.set()
    assert await second == (2, False)


async def test_a_cancelled_caller_leaves_the_work_to_the_others() -> None:
    joined, work = Joined[int](), Work()
    first, second, third = [await begin(joined, work) for _ in range(3)]
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    work.may_end.set()
    assert [await first, await third] == [(1, False), (1, True)]
