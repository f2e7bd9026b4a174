"""Run a program on examples concurrently, score it, and count its failures by kind."""

from __future__ import annotations

import asyncio
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, Protocol

from lmpipe.data.example import Example
from lmpipe.data.splits import check_examples, check_not_empty
from lmpipe.errors import CallError, DataError, LMRequestError, MetricError
from lmpipe.evaluation.results import Evaluation, Row, Totals
from lmpipe.evaluation.score_row import Scorer, score_row
from lmpipe.evaluation.stored_rows import RowWriter
from lmpipe.evaluation.use_watch import UseWatch
from lmpipe.foundation.checks import check_number
from lmpipe.foundation.foreign import native
from lmpipe.foundation.progress_bar import Report, progress_bar
from lmpipe.foundation.source_line import source_line
from lmpipe.lm.call import Call
from lmpipe.lm.concurrency.loop import blocking
from lmpipe.lm.events import EvaluationEnded, EvaluationStarted
from lmpipe.lm.lm import LM, as_lm
from lmpipe.lm.observing import observed
from lmpipe.metrics import AnyMetric, bind_metric
from lmpipe.modules.declared import declared_program, declared_signature
from lmpipe.modules.function import PredictFunction
from lmpipe.modules.module import Module, check_program
from lmpipe.modules.observed import name_of
from lmpipe.settings import current_settings, using
from lmpipe.signatures.signature import spec_of

DEFAULT_CONCURRENCY = 64

# Rows that are written to disk wait for those before them. No row starts that is further ahead of
# the first unfinished row than this, so memory stays flat.
_MIN_WINDOW = 1024


class Admission(Protocol):
    """Decides when a run of the program may start; the budget implements it."""

    async def admit(self) -> None:
        """Wait until the budget has room for one more run, or raise a BudgetExhaustedError."""
        ...

    def settle(self, calls: Sequence[Call]) -> None:
        """Report the LM calls of an admitted run that has ended."""
        ...


@dataclass(frozen=True)
class RunOptions:
    """How to run examples.

    Args:
        concurrency: the maximum number of examples in flight, 1 or more.
        scope: fields of `lm.scope.Scope` for every run, such as `lm` or `sample`.
        admission: the budget; None means unlimited.
        on_row: called with each row when it ends, in no fixed order.
        judge: the LM of the metric's calls; None is the configured LM.
        judge_calls: the maximum number of LM calls of the metric for one row; None means unlimited.
        save_to: the file to which rows are written instead of being kept in memory.
        may_all_fail: all rows may fail in the same way without an error: they are too few to tell.
        row_timeout: the maximum time of one run, in seconds, above 0; None means unlimited.
    """

    concurrency: int = DEFAULT_CONCURRENCY
    scope: Mapping[str, Any] = field(default_factory=dict)
    admission: Admission | None = None
    on_row: Callable[[Row], None] | None = None
    judge: LM | None = None
    judge_calls: int | None = None
    save_to: Path | None = None
    may_all_fail: bool = False
    row_timeout: float | None = None


async def aevaluate(
    program: Module,
    data: Iterable[Example],
    metric: AnyMetric,
    *,
    lm: LM | str | None = None,
    judge: LM | str | None = None,
    concurrency: int = DEFAULT_CONCURRENCY,
    on_row: Callable[[Row], None] | None = None,
    save_to: str | Path | None = None,
    row_timeout: float | None = None,
    progress: bool | None = None,
) -> Evaluation:
    """Score a program on data.

    Args:
        program: the program.
        data: examples with inputs and labels; a generator is read as rows are needed.
        metric: scores a prediction.
        lm: the program's LM or its name, in place of the configured one.
        judge: the LM of a metric that calls one, or its name; by default the configured LM, never
            `lm`.
        concurrency: the maximum number of examples in flight, 1 or more.
        on_row: called with each row when it ends.
        save_to: a `.jsonl` or `.csv` file to which the rows are written as they end, in the data's
            order, instead of being kept in memory; the evaluation's rows are then read from it.
            The file gets its name when it is complete; until then it is `<name>.jsonl.part`.
        row_timeout: the maximum time that the program may take for one example, in seconds. A
            slower run is cancelled and is a failure of kind `deadline`.
        progress: whether to show progress: a bar on a terminal or in a notebook, elsewhere a line
            every 15 seconds. By default only where there is a terminal or a notebook.

    Raises:
        CallError: if the program is not a module.
        ConfigError: if `concurrency` or `row_timeout` is out of range, or an LM is neither an LM
            nor a name.
        DataError: if the data are empty, are not examples or do not match the program's inputs.
        StorageError: if the rows or a cassette cannot be written.
        MetricError: if the metric returns an invalid score, or raises on every row.
        LMError: if the LM is still unavailable after all retries.
    """
    check_number("evaluate", "concurrency", concurrency, minimum=1, integer=True)
    check_number("evaluate", "row_timeout", row_timeout, above=0, optional=True)
    program = native(program)
    check_program(program)
    metric = declared_program(program).metric_for(metric)
    lm, judge = as_lm(lm), as_lm(judge)
    first, examples = _peek(data)
    check_inputs(program, first)
    bound = program.bind(program.state())
    settings = current_settings()
    watch = UseWatch(bound, _warn)
    total = len(data) if isinstance(data, Sequence) else None
    with (
        using(lm=lm or settings.lm, runtime=settings.runtime),
        progress_bar(progress) as report,
        observed(
            EvaluationStarted, EvaluationEnded, program=name_of(program), examples=total
        ) as call,
    ):
        shown = None if report is None else _ScoreSoFar(report, total)

        def row_ended(row: Row) -> None:
            if shown is not None:
                shown.add(row)
            watch.see(row)
            if on_row is not None:
                on_row(row)

        options = RunOptions(
            concurrency=concurrency,
            on_row=row_ended,
            judge=judge or (settings.lm if lm is not None else None),
            row_timeout=row_timeout,
            save_to=None if save_to is None else Path(save_to),
        )
        evaluation = await run_pairs(((bound, example) for example in examples), metric, options)
        call.ends(evaluation=evaluation)
    return evaluation


class _ScoreSoFar:
    """Reports the mean score of the rows that ended; `total` is None for a generator's rows."""

    def __init__(self, report: Report, total: int | None) -> None:
        self._report, self._total = report, total
        self._ended, self._sum = 0, 0.0
        report("evaluating", 0, total)

    def add(self, row: Row) -> None:
        """Report a row that ended."""
        self._ended += 1
        self._sum += row.score.value
        text = f"evaluating, score so far {self._sum / self._ended:.1%}"
        self._report(text, self._ended, self._total)


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=2)


# The same for callers without a running event loop.
evaluate = blocking(
    aevaluate, interrupted="the evaluation was stopped; replies that arrived are in the cache"
)


def _peek(data: Iterable[Example]) -> tuple[Example, Iterable[Example]]:
    """Return the first row, and an iterable of all rows."""
    if isinstance(data, Sequence):
        if not all(isinstance(row, Example) for row in data):
            data = [native(row) for row in data]
        check_not_empty("data", data)
        check_examples("data", data)
        return data[0], data
    rows = iter(data)
    start = [native(row) for row in islice(rows, 1)]
    check_not_empty("data", start)
    check_examples("data", start)
    return start[0], chain(start, _checked(rows))


def _checked(rows: Iterable[Example]) -> Iterator[Example]:
    for row in map(native, rows):
        check_examples("data", [row])
        yield row


async def run_pairs(
    pairs: Iterable[tuple[Module, Example]], metric: AnyMetric, options: RunOptions
) -> Evaluation:
    """Run programs on examples, one run for each pair; the rows are in the pairs' order.

    Raises:
        BudgetExhaustedError: if the budget is used up before all examples have run.
        StorageError: if the rows or a cassette cannot be written.
        MetricError: if the metric returns an invalid score, or raises on every row.
        LMError: if the LM is unavailable, or refuses every row.
    """
    started = time.perf_counter()
    scorer = Scorer(bind_metric(metric), options.judge, options.judge_calls)
    totals = Totals()
    rows: Sequence[Row]
    if options.save_to is None:
        kept: list[Row] = []
        await _run_all(pairs, scorer, options, totals, kept.append, window=None)
        rows = tuple(kept)
    else:
        window = max(_MIN_WINDOW, 16 * options.concurrency)
        with RowWriter(options.save_to) as file:
            await _run_all(pairs, scorer, options, totals, file.add, window=window)
            rows = file.finish()
    if not options.may_all_fail:
        _check_not_all_failed(totals)
    return Evaluation(rows, time.perf_counter() - started, totals)


async def _run_all(
    pairs: Iterable[tuple[Module, Example]],
    scorer: Scorer,
    options: RunOptions,
    totals: Totals,
    keep: Callable[[Row], None],
    *,
    window: int | None,
) -> None:
    """Run examples in order, at most `window` rows ahead of the first unfinished one."""
    limit = asyncio.Semaphore(options.concurrency)
    ended = _RowsInOrder(totals.add, keep)

    async def run_one(index: int, program: Module, example: Example) -> None:
        calls: list[Call] = []
        try:
            row = await score_row(
                program, index, example, scorer, calls, options.scope, options.row_timeout
            )
        finally:
            if options.admission:
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
                if options.admission:
                    await options.admission.admit()
                group.create_task(run_one(index, program, example))
    except BaseExceptionGroup as errors:
        raise _first_error(errors) from errors


class _RowsInOrder:
    """Passes rows on in the data's order; a row that ends early waits for those before it."""

    def __init__(self, *receivers: Callable[[Row], None]) -> None:
        self._receivers = receivers
        self._next = 0
        self._early: dict[int, Row] = {}
        self._moved = asyncio.Event()

    def put(self, row: Row) -> None:
        self._early[row.index] = row
        while (first := self._early.pop(self._next, None)) is not None:
            self._next += 1
            for receive in self._receivers:
                receive(first)
        self._moved.set()

    async def wait_for(self, index: int) -> None:
        """Wait until the row of this index was passed on."""
        while self._next <= index:
            self._moved.clear()
            await self._moved.wait()


def _first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the earliest error of several rows, cancellations aside."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            return _first_error(error)
        if not isinstance(error, asyncio.CancelledError):
            return error
    return group.exceptions[0]


def _check_not_all_failed(totals: Totals) -> None:
    """Raise if all rows failed in a way that the metric or the request causes, not the program."""
    rows, failed, first = len(totals.values), totals.failures, totals.first_failure
    if first is None or failed.total() < rows:
        return
    all_rows = "the only row" if rows == 1 else f"every one of {rows:,} rows"
    if set(failed) == {"metric"}:
        raise MetricError(
            f"the metric raised on {all_rows}; on the first: {first.message}"
            f"{source_line(first.raw)}"
        )
    if totals.bad_calls == rows:
        raise CallError(f"on {all_rows}: {first.message}")
    if set(failed) == {"request"}:
        raise LMRequestError(f"the LM refused {all_rows}: {first.message}")


def check_inputs(program: Module, example: Example) -> None:
    """Check that an example has the inputs that the program takes.

    Raises:
        DataError: if it does not; the message shows both.
    """
    declared = declared_program(program)
    if isinstance(declared, PredictFunction):
        declared = declared.predict
    if (asked := declared_signature(declared)) is not None:
        try:
            spec_of(asked).check_inputs(dict(example.inputs))
        except CallError as error:
            raise DataError(
                f"the examples do not match the program: {error}\n  the examples' inputs are "
                f"{', '.join(example.inputs)}\n  choose inputs with with_inputs(…) or inputs=[…]"
            ) from error
        return
    signature = declared.input_parameters()
    try:
        signature.bind(**example.inputs)
    except TypeError as error:
        raise DataError(
            f"the examples do not match the program: {error}\n"
            f"  the program takes {signature}\n  the examples' inputs are "
            f"{', '.join(example.inputs)}\n  choose inputs with with_inputs(…) or inputs=[…]"
        ) from error
