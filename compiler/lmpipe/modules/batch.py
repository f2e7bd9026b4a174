"""Run a program on many rows at once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from lmpipe.foundation.checks import check_number
from lmpipe.lm.concurrency import loop

T = TypeVar("T")


def run_batch(
    rows: Iterable[Mapping[str, Any]],
    concurrency: int,
    *,
    run: Callable[..., Coroutine[Any, Any, Any]],
    blocking: Callable[..., Any] | None = None,
) -> list[Any]:
    """Run a program on many rows of inputs; see `Module.batch`.

    Args:
        rows: inputs by name, one mapping per run.
        concurrency: the maximum number of runs in flight.
        run: runs the program on the inputs of one row.
        blocking: the same for a program that blocks its thread; used in place of `run`.
    """
    check_number("batch", "concurrency", concurrency, minimum=1, integer=True)
    inputs = list(rows)
    results: list[Any] = [None] * len(inputs)
    queue = deque(enumerate(inputs))

    async def work() -> None:
        for index, row in _drain(queue):
            results[index] = await run(**row)

    def work_in_thread(blocking: Callable[..., Any]) -> None:
        # One thread runs many rows: handing a row to a thread may cost more than running it.
        for index, row in _drain(queue):
            results[index] = blocking(**row)

    async def run_all() -> list[Any]:
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(concurrency, len(inputs))):
                    group.create_task(
                        work() if blocking is None else loop.in_thread(work_in_thread, blocking)
                    )
        finally:
            queue.clear()
        return results

    try:
        return loop.run_sync(run_all())
    except ExceptionGroup as group:
        raise group.exceptions[0] from group


def _drain(queue: deque[T]) -> Iterator[T]:
    """Take items from a queue until it is empty; several workers may drain the same queue."""
    while True:
        try:
            item = queue.popleft()
        except IndexError:
            return
        yield item
