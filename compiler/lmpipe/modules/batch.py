"""Run programs on many rows at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any, Literal, TypeAlias

from lmpipe.data.example import Example
from lmpipe.errors import CallError, RunTimeoutError
from lmpipe.foundation.checks import check_choice, check_number
from lmpipe.foundation.shorten import repr_without_data
from lmpipe.foundation.time_limits import within
from lmpipe.lm.concurrency import loop
from lmpipe.lm.concurrency.in_order import run_in_order
from lmpipe.modules.row_errors import may_be_kept

Row: TypeAlias = Mapping[str, Any] | Example


OnError: TypeAlias = Literal["raise", "keep"]


def run_batch(
    rows: Iterable[Row],
    concurrency: int,
    *,
    run: Callable[..., Coroutine[Any, Any, Any]],
    blocking: Callable[..., Any] | None = None,
    timeout: float | None = None,
    on_error: OnError = "raise",
) -> list[Any]:
    """Run a program on many rows of inputs; see `Module.batch`.

    Args:
        rows: inputs by name, one mapping or example per run.
        concurrency: the maximum number of runs in flight.
        run: runs the program on the inputs of one row.
        blocking: the same for a program that blocks its thread; used in place of `run` if there is
            no timeout, because a thread cannot be stopped.
        timeout: the maximum time of one run in seconds.
        on_error: whether the first error is raised, or each takes the place of its row's result.
    """
    check_number("batch", "concurrency", concurrency, minimum=1, integer=True)
    check_number("batch", "timeout", timeout, above=0, optional=True)
    check_choice("batch", "on_error", on_error, ("raise", "keep"))
    if isinstance(rows, Example | Mapping):
        raise CallError(f"batch: {repr_without_data(rows, 100)} is one row; give a list of rows")
    inputs = [
        (number, row_inputs(f"batch: row {number}", row)) for number, row in enumerate(rows, 1)
    ]

    async def run_row(numbered: tuple[int, Mapping[str, Any]]) -> Any:
        number, row = numbered
        try:
            return await in_time(run(**row), timeout, f"row {number}")
        except Exception as error:
            if on_error == "raise" or not may_be_kept(error):
                raise
            return error

    def run_blocking(numbered: tuple[int, Mapping[str, Any]]) -> Any:
        assert blocking is not None
        try:
            return blocking(**numbered[1])
        except Exception as error:
            if on_error == "raise" or not may_be_kept(error):
                raise
            return error

    in_threads = blocking is not None and timeout is None
    return loop.run_sync(
        run_in_order(
            inputs, concurrency, run=run_row, blocking=run_blocking if in_threads else None
        )
    )


async def in_time(running: Awaitable[Any], seconds: float | None, what: str) -> Any:
    """Await a run; raise a RunTimeoutError that says what it was if it takes too long."""
    return await within(
        seconds,
        running,
        late=lambda: RunTimeoutError(
            f"{what} took longer than its timeout of {seconds:g} seconds; give it more time, or "
            "limit what an LM writes with max_tokens"
        ),
    )


def row_inputs(what: str, row: object) -> Mapping[str, Any]:
    """Return the inputs of a row.

    Raises:
        CallError: if it is neither a mapping nor an example; `what` says which row it is.
    """
    if isinstance(row, Example):
        return row.inputs
    if isinstance(row, Mapping):
        return row
    raise CallError(
        f"{what} is {repr_without_data(row, 100)}; give each row as a mapping of its "
        "inputs by name, or as an Example with inputs"
    )
