"""Run many items at once, with the results in the items' order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, TypeVar

from lmpipe.lm.concurrency import loop

T = TypeVar("T")
R = TypeVar("R")


async def run_in_order(
    items: Sequence[T],
    concurrency: int,
    *,
    run: Callable[[T], Awaitable[R]],
    blocking: Callable[[T], R] | None = None,
) -> list[R]:
    """Run every item; the first error cancels the others and is raised.

    Args:
        items: what to run.
        concurrency: the maximum number of runs in flight.
        run: runs an item.
        blocking: the same for what blocks its thread; used in place of `run`.
    """
    results: list[Any] = [None] * len(items)
    queue = deque(enumerate(items))

    async def work() -> None:
        for index, item in _drain(queue):
            results[index] = await run(item)

    def work_in_thread(blocking: Callable[[T], R]) -> None:
        # One thread runs many items: handing one to a thread may cost more than running it.
        for index, item in _drain(queue):
            results[index] = blocking(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(concurrency, len(items))):
                group.create_task(
                    work() if blocking is None else loop.in_thread(work_in_thread, blocking)
                )
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from errors
    finally:
        queue.clear()
    return results


def _drain(queue: deque[T]) -> Iterator[T]:
    """Take items from a queue until it is empty; several workers may drain the same queue."""
    while True:
        try:
            item = queue.popleft()
        except IndexError:
            return
        yield item
