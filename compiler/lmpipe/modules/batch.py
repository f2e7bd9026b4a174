"""Run a program on many rows at once."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, TypeAlias

from lmpipe.data.example import Example
from lmpipe.errors import CallError
from lmpipe.foundation.checks import check_number
from lmpipe.foundation.shorten import repr_without_data
from lmpipe.lm.concurrency import loop
from lmpipe.lm.concurrency.in_order import run_in_order

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
        raise CallError(f"batch: {repr_without_data(rows, 100)} is one row; give a list of rows")
    inputs = [_inputs(number, row) for number, row in enumerate(rows, start=1)]
    return loop.run_sync(
        run_in_order(
            inputs,
            concurrency,
            run=lambda row: run(**row),
            blocking=None if blocking is None else lambda row: blocking(**row),
        )
    )


def _inputs(number: int, row: object) -> Mapping[str, Any]:
    if isinstance(row, Example):
        return row.inputs
    if isinstance(row, Mapping):
        return row
    raise CallError(
        f"batch: row {number} is {repr_without_data(row, 100)}; give each row as a mapping of its "
        "inputs by name, or as an Example with inputs"
    )
