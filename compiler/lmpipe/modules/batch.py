"""Run a program on many rows at once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from typing import Any, TypeAlias, TypeVar

from lmpipe.data.example import Example
from lmpipe.errors import CallError
from lmpipe.foundation.checks import check_number
from lmpipe.lm.concurrency import loop

T = TypeVar("T")

Row: TypeAlias = Mapping[str, Any] | Example


def run_batch(
    rows: Iterable[Row],
    concurrency: int,
    *,
    run: Callable[..., Coroutine[Any, Any, Any]],
    blocking: Callable[..., Any] | None = None,
) -> list[Any]:
    """Run a program on many rows of inputs; see `Module.batch`.

    Args:
        rows: inputs by name, one mapping or example per run.
        concurrency: the maximum number of runs in flight.
        run: runs the program on the inputs of one row.
        blocking: the same for a program that blocks its thread; used in place of `run`.
    """
    check_number("batch", "concurrency", concurrency, minimum=1, integer=True)
    if isinstance(rows, Example | Mapping):
        raise CallError(f"batch: {rows!r:.100} is one row; give a list of rows")
    inputs = [_inputs(number, row) for number, row in enumerate(rows, start=1)]
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


def _inputs(number: int, row: object) -> Mapping[str, Any]:
    if isinstance(row, Example):
        return row.inputs
    if isinstance(row, Mapping):
        return row
    raise CallError(
        f"batch: row {number} is {row!r:.100}; give each row as a mapping of its inputs by name, "
        "or as an Example with inputs"
    )


def _drain(queue: deque[T]) -> Iterator[T]:
    """Take items from a queue until it is empty; several workers may drain the same queue."""
    while True:
        try:
            item = queue.popleft()
        except IndexError:
            return
        yield item
