"""Evaluation: a program over examples, concurrently, with an honest account of failures."""

from __future__ import annotations

import asyncio
import inspect
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, Protocol

from lmpipe.data.example import Example
from lmpipe.data.splits import check_not_empty
from lmpipe.errors import CallError, DataError, LMRequestError, MetricError
from lmpipe.evaluation.results import Evaluation, Figures, Row
from lmpipe.evaluation.score_row import Judge, run_row
from lmpipe.evaluation.stored_rows import RowWriter
from lmpipe.foundation.checks import check_number
from lmpipe.lm.call import Call
from lmpipe.lm.concurrency import loop
from lmpipe.lm.lm import LM
from lmpipe.metrics import AnyMetric
from lmpipe.modules.module import Module, Predictor, first_member
from lmpipe.settings import current_settings, using

DEFAULT_CONCURRENCY = 64

# Rows that go to disk may end so far ahead of the first that has not: memory stays flat.
_LEAST_WINDOW = 1024


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
        judge: the LM of the metric's own calls; the configured one if not given.
        judge_calls: the most LM calls that the metric may make for one row; None is no limit.
        save_to: the file that rows go to, in place of being kept.
        few: whether the examples are too few to tell, by all of them failing in the same way,
            that nothing works.
        row_timeout: the longest that one run may take, in seconds; it fails then.
    """

    concurrency: int = DEFAULT_CONCURRENCY
    scope: Mapping[str, Any] = field(default_factory=dict)
    admission: Admission = field(default_factory=_Open)
    on_row: Callable[[Row], None] | None = None
    judge: LM | None = None
    judge_calls: int | None = None
    save_to: Path | None = None
    few: bool = False
    row_timeout: float | None = None


def evaluate(
    program: Module,
    data: Iterable[Example],
    metric: AnyMetric,
    *,
    lm: LM | None = None,
    judge: LM | None = None,
    concurrency: int = DEFAULT_CONCURRENCY,
    on_row: Callable[[Row], None] | None = None,
    save_to: str | Path | None = None,
    row_timeout: float | None = None,
) -> Evaluation:
    """Score a program on data.

    Args:
        program: what to score.
        data: examples with inputs and labels; a generator is read as its rows are needed.
        metric: how good a prediction is.
        lm: the LM of the program, in place of the configured one.
        judge: the LM of a metric that asks one; the configured one if not given, never `lm`.
        concurrency: examples in flight at a time.
        on_row: called as each row ends.
        save_to: a `.jsonl` or `.csv` file that the rows go to as they end, in the data's order,
            in place of being kept in memory; the evaluation's rows are then read back from it.
            It takes its name when it is whole; until then it is `<name>.jsonl.part`.
        row_timeout: the longest that the program may take over one example, in seconds; one that
            takes longer is given up and is a failure of kind `deadline`.

    Raises:
        DataError: if the data are empty or do not fit the program's inputs, or the rows cannot be
            written.
        MetricError: if the metric breaks its contract, or raises on every row.
        LMError: if the LM is away after retries.
    """
    return loop.run_sync(
        aevaluate(
            program,
            data,
            metric,
            lm=lm,
            judge=judge,
            concurrency=concurrency,
            on_row=on_row,
            save_to=save_to,
            row_timeout=row_timeout,
        )
    )


async def aevaluate(
    program: Module,
    data: Iterable[Example],
    metric: AnyMetric,
    *,
    lm: LM | None = None,
    judge: LM | None = None,
    concurrency: int = DEFAULT_CONCURRENCY,
    on_row: Callable[[Row], None] | None = None,
    save_to: str | Path | None = None,
    row_timeout: float | None = None,
) -> Evaluation:
    """`evaluate` from a coroutine."""
    first, examples = _peek(data)
    check_inputs(program, first)
    bound = program.bind(program.state())
    settings = current_settings()
    options = RunOptions(
        concurrency=concurrency,
        on_row=on_row,
        judge=judge or (settings.lm if lm is not None else None),
        row_timeout=row_timeout,
        save_to=None if save_to is None else Path(save_to),
    )
    with using(lm=lm or settings.lm, runtime=settings.runtime):
        return await run_examples(bound, examples, metric, options)


def _peek(data: Iterable[Example]) -> tuple[Example, Iterable[Example]]:
    """The first row, and all of them."""
    if isinstance(data, Sequence):
        check_not_empty("data", data)
        return data[0], data
    rows = iter(data)
    begin = list(islice(rows, 1))
    check_not_empty("data", begin)
    return begin[0], chain(begin, rows)


async def run_examples(
    program: Module, examples: Iterable[Example], metric: AnyMetric, options: RunOptions
) -> Evaluation:
    """Run a program on examples; rows come back in the examples' order.

    Raises: as `run_pairs` does.
    """
    return await run_pairs(((program, example) for example in examples), metric, options)


async def run_pairs(
    pairs: Iterable[tuple[Module, Example]], metric: AnyMetric, options: RunOptions
) -> Evaluation:
    """Run programs on examples, one run for each pair; rows come back in the pairs' order.

    Raises:
        ConfigError: if the concurrency is below 1, or the row's timeout is not above 0.
        BudgetExhaustedError: if the budget ends before the examples do.
        DataError: if the rows cannot be written.
        MetricError: if the metric breaks its contract, or raises on every row.
        LMError: if the LM is away, or refuses every row.
    """
    check_number("evaluate", "concurrency", options.concurrency, minimum=1, integer=True)
    check_number("evaluate", "row_timeout", options.row_timeout, above=0, optional=True)
    started = time.perf_counter()
    judge = Judge.of(metric, lm=options.judge, max_calls=options.judge_calls)
    figures = Figures()
    rows: Sequence[Row]
    if options.save_to is None:
        kept: list[Row] = []
        await _run_all(pairs, judge, options, figures, kept.append, window=None)
        rows = tuple(kept)
    else:
        window = max(_LEAST_WINDOW, 16 * options.concurrency)
        with RowWriter(options.save_to) as file:
            await _run_all(pairs, judge, options, figures, file.add, window=window)
            rows = file.finish()
    if not options.few:
        _check_figures(figures)
    return Evaluation(rows, time.perf_counter() - started, figures)


async def _run_all(
    pairs: Iterable[tuple[Module, Example]],
    judge: Judge,
    options: RunOptions,
    figures: Figures,
    keep: Callable[[Row], None],
    *,
    window: int | None,
) -> None:
    """Run examples, admitted in their order, and take their rows in the same order."""
    limit = asyncio.Semaphore(options.concurrency)
    ended = _InOrder(figures.add, keep)

    async def run_one(index: int, program: Module, example: Example) -> None:
        calls: list[Call] = []
        try:
            row = await run_row(
                program, index, example, judge, calls, options.scope, options.row_timeout
            )
        finally:
            options.admission.settle(calls)
            limit.release()
        ended.put(row)
        if options.on_row:
            options.on_row(row)

    try:
        async with asyncio.TaskGroup() as group:
            for index, (program, example) in enumerate(pairs):
                await limit.acquire()
                if window is not None:
                    await ended.wait_for(index - window)
                await options.admission.admit()
                group.create_task(run_one(index, program, example))
    except BaseExceptionGroup as errors:
        raise _first(errors) from errors


class _InOrder:
    """Hands rows on in the data's order; those that end early wait."""

    def __init__(self, *takers: Callable[[Row], None]) -> None:
        self._takers = takers
        self._next = 0
        self._early: dict[int, Row] = {}
        self._moved = asyncio.Event()

    def put(self, row: Row) -> None:
        self._early[row.index] = row
        while (first := self._early.pop(self._next, None)) is not None:
            self._next += 1
            for take in self._takers:
                take(first)
        if not self._moved.is_set():
            self._moved.set()

    async def wait_for(self, index: int) -> None:
        """Wait until the row of this index was handed on."""
        while self._next <= index:
            self._moved.clear()
            await self._moved.wait()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error to show when several rows raised: the earliest, and no mere cancellation."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            return _first(error)
        if not isinstance(error, asyncio.CancelledError):
            return error
    return group.exceptions[0]


def _check_figures(figures: Figures) -> None:
    """A fault on every row is a fault of the metric or the request, not of the program."""
    rows, failed, first = len(figures.values), figures.failures, figures.first_failure
    if first is None or failed.total() < rows:
        return
    everywhere = f"every one of {rows} rows"
    if set(failed) == {"metric"}:
        raise MetricError(
            f"the metric raised on {everywhere}; on the first: {first.message}{_place(first.raw)}"
        )
    if figures.bad_calls == rows:
        raise CallError(f"on {everywhere}: {first.message}")
    if set(failed) == {"request"}:
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
    declared = first_member(program)
    if isinstance(declared, Predictor):
        return
    forward: Any = declared.forward  # type: ignore[attr-defined]
    signature = inspect.signature(forward)
    try:
        signature.bind(**example.inputs)
    except TypeError as error:
        raise DataError(
            f"the examples do not fit the program: {error}\n"
            f"  the program takes {signature}\n  the examples' inputs are "
            f"{', '.join(example.inputs)}\n  choose inputs with with_inputs(…) or inputs=[…]"
        ) from error
