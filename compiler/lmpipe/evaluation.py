"""Evaluation: a program over examples, concurrently, with an honest account of failures."""

from __future__ import annotations

import asyncio
import inspect
import re
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from lmpipe.data import check_not_empty
from lmpipe.errors import (
    CallError,
    ConfigError,
    DataError,
    InputError,
    LMError,
    LMRequestError,
    MetricError,
    OutputError,
)
from lmpipe.example import Example
from lmpipe.lm import loop
from lmpipe.lm.lm import LM
from lmpipe.lm.runtime import Call
from lmpipe.metrics import Metric, Score, bind_metric
from lmpipe.outcome import Evaluation, Failure, Row
from lmpipe.program import Module, Predictor, run_traced
from lmpipe.settings import current_settings, using
from lmpipe.trace import Trace

DEFAULT_CONCURRENCY = 64


class Admission(Protocol):
    """Who lets a run of the program start: the budget."""

    async def admit(self) -> None:
        """Wait until one more run fits.

        Raises:
            BudgetExhaustedError: if it never will.
        """
        ...

    def settle(self, calls: Sequence[Call]) -> None:
        """Say what an admitted run really spent."""
        ...


class _Open:
    async def admit(self) -> None:
        return

    def settle(self, calls: Sequence[Call]) -> None:
        return


@dataclass(frozen=True)
class RunOptions:
    """How examples are run.

    Args:
        concurrency: examples in flight at a time.
        scope: fields of `trace.Scope` for every run, such as `lm` or `sample`.
        admission: the budget.
        on_row: called as each row ends, in no fixed order.
        few: whether the examples are too few to tell, by all of them failing in the same way,
            that nothing works.
        row_timeout: the longest that one run may take, in seconds; it fails then.
    """

    concurrency: int = DEFAULT_CONCURRENCY
    scope: Mapping[str, Any] = field(default_factory=dict)
    admission: Admission = field(default_factory=_Open)
    on_row: Callable[[Row], None] | None = None
    few: bool = False
    row_timeout: float | None = None


def evaluate(
    program: Module,
    data: Sequence[Example],
    metric: Metric,
    *,
    lm: LM | None = None,
    concurrency: int = DEFAULT_CONCURRENCY,
    on_row: Callable[[Row], None] | None = None,
    row_timeout: float | None = None,
) -> Evaluation:
    """Score a program on data.

    Args:
        program: what to score.
        data: examples with inputs and labels.
        metric: how good a prediction is.
        lm: the LM, in place of the configured one.
        concurrency: examples in flight at a time.
        on_row: called as each row ends.
        row_timeout: the longest that the program may take over one example, in seconds; one that
            takes longer is given up and is a failure of kind `deadline`.

    Raises:
        DataError: if the data are empty or do not fit the program's inputs.
        MetricError: if the metric breaks its contract, or raises on every row.
        LMError: if the LM is away after retries.
    """
    return loop.run_sync(
        aevaluate(
            program,
            data,
            metric,
            lm=lm,
            concurrency=concurrency,
            on_row=on_row,
            row_timeout=row_timeout,
        )
    )


async def aevaluate(
    program: Module,
    data: Sequence[Example],
    metric: Metric,
    *,
    lm: LM | None = None,
    concurrency: int = DEFAULT_CONCURRENCY,
    on_row: Callable[[Row], None] | None = None,
    row_timeout: float | None = None,
) -> Evaluation:
    """`evaluate` from a coroutine."""
    check_not_empty("data", data)
    check_inputs(program, data[0])
    bound = program.bind(program.state())
    settings = current_settings()
    with using(lm=lm or settings.lm):
        options = RunOptions(concurrency=concurrency, on_row=on_row, row_timeout=row_timeout)
        return await run_examples(bound, data, metric, options)


async def run_examples(
    program: Module, examples: Sequence[Example], metric: Metric, options: RunOptions
) -> Evaluation:
    """Run a program on examples; rows come back in the examples' order.

    Raises:
        ConfigError: if the concurrency is below 1, or the row's timeout is not above 0.
        BudgetExhaustedError: if the budget ends before the examples do.
        MetricError: if the metric breaks its contract, or raises on every row.
        LMError: if the LM is away, or refuses every row.
    """
    if options.concurrency < 1:
        raise ConfigError(f"concurrency is {options.concurrency}, must be 1 or more")
    if options.row_timeout is not None and options.row_timeout <= 0:
        raise ConfigError(
            f"row_timeout is {options.row_timeout}, must be above 0: it is in seconds"
        )
    started = time.perf_counter()
    judge = bind_metric(metric)
    limit = asyncio.Semaphore(options.concurrency)
    rows: list[Row] = []

    async def run_one(index: int, example: Example) -> None:
        calls: list[Call] = []
        try:
            row = await _run_row(program, index, example, judge, calls, options)
        finally:
            options.admission.settle(calls)
            limit.release()
        rows.append(row)
        if options.on_row:
            options.on_row(row)

    async def run_all() -> None:
        async with asyncio.TaskGroup() as group:
            for index, example in enumerate(examples):
                await limit.acquire()
                await options.admission.admit()
                group.create_task(run_one(index, example))

    try:
        await run_all()
    except BaseExceptionGroup as group:
        raise _first(group) from group
    rows.sort(key=lambda row: row.index)
    if not options.few:
        _check_rows(rows)
    return Evaluation(tuple(rows), time.perf_counter() - started)


async def _run_row(
    program: Module,
    index: int,
    example: Example,
    judge: Callable[[Example, Any, Any], Any],
    calls: list[Call],
    options: RunOptions,
) -> Row:
    started = time.perf_counter()
    prediction, trace, failure, score = None, Trace(), None, Score(0.0)
    timer = asyncio.timeout(options.row_timeout)
    try:
        async with timer:
            prediction = await run_traced(
                program, example.inputs, trace, calls=calls, **options.scope
            )
    except OutputError as error:
        failure = Failure("output", str(error), error.raw)
    except LMRequestError as error:
        if error.status in (401, 403, 404):
            raise
        failure = Failure("request", str(error))
    except CallError as error:
        # What one predictor gave may be wrong for the next: on one row that is bad luck.
        failure = Failure("program", f"CallError: {error}", traceback.format_exc())
    except (LMError, InputError):
        raise
    except Exception as error:  # noqa: BLE001 - a program may raise anything; the row keeps it
        if timer.expired():
            failure = Failure("deadline", f"took longer than {options.row_timeout:g} seconds")
        else:
            failure = Failure("program", f"{type(error).__name__}: {error}", traceback.format_exc())
    if failure is None:
        try:
            score = await judge(example, prediction, trace)
        except InputError:
            raise
        except Exception as error:  # noqa: BLE001 - so may a metric
            failure = Failure("metric", f"{type(error).__name__}: {error}", traceback.format_exc())
    seconds = time.perf_counter() - started
    return Row(index, example, prediction, score, failure, trace, tuple(calls), seconds)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error to show when several rows raised: the earliest, and no mere cancellation."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            return _first(error)
        if not isinstance(error, asyncio.CancelledError):
            return error
    return group.exceptions[0]


def _check_rows(rows: Sequence[Row]) -> None:
    """A fault on every row is a fault of the metric or the request, not of the program."""
    failures = [row.failure for row in rows if row.failure]
    if not failures or len(failures) < len(rows):
        return
    first, everywhere = failures[0], f"every one of {len(rows)} rows"
    kinds = {failure.kind for failure in failures}
    if kinds == {"metric"}:
        raise MetricError(
            f"the metric raised on {everywhere}; on the first: {first.message}{_place(first.raw)}"
        )
    if all(failure.message.startswith("CallError: ") for failure in failures):
        raise CallError(f"on {everywhere}: {first.message}")
    if kinds == {"request"}:
        raise LMRequestError(f"the LM refused {everywhere}: {first.message}")


def _place(raw: str) -> str:
    """Where a traceback ends, for one line of a message."""
    found = re.findall(r'File "(.+)", line (\d+)', raw)
    return f" at {found[-1][0]}:{found[-1][1]}" if found else ""


def check_inputs(program: Module, example: Example) -> None:
    """Check that an example's inputs are what the program takes.

    Raises:
        DataError: if not; shows both.
    """
    if isinstance(program, Predictor):
        return
    forward: Any = program.forward  # type: ignore[attr-defined]
    signature = inspect.signature(forward)
    try:
        signature.bind(**example.inputs)
    except TypeError as error:
        raise DataError(
            f"the examples do not fit the program: {error}\n"
            f"  the program takes {signature}\n  the examples' inputs are "
            f"{', '.join(example.inputs)}\n  choose inputs with with_inputs(…) or inputs=[…]"
        ) from error
