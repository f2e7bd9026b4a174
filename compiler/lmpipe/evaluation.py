"""Evaluation: a program over examples, concurrently, with an honest account of failures."""

from __future__ import annotations

import asyncio
import re
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

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
from lmpipe.lm.request import Usage
from lmpipe.lm.runtime import Call
from lmpipe.metrics import Metric, Score, bind_metric
from lmpipe.program import Module, run_traced
from lmpipe.settings import current_settings, using
from lmpipe.statistics import Interval, mean_interval
from lmpipe.trace import Trace

FailureKind = Literal["output", "program", "metric", "request"]

DEFAULT_CONCURRENCY = 64


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an example has no honest score.

    Args:
        kind: `output` (no reply could be read), `program` (its own code raised), `metric` (the
            metric raised) or `request` (the LM refused this request, as when it is too long).
            An LM that is away is no failure of an example: it stops the evaluation.
        message: the error in one line.
        raw: the reply's text for `output`, the traceback for `program` and `metric`.
    """

    kind: FailureKind
    message: str
    raw: str = ""

    def to_json(self) -> dict[str, str]:
        return {"kind": self.kind, "message": self.message, "raw": self.raw}


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one example.

    Args:
        index: its place in the data.
        example: the example.
        prediction: what the program returned, or None.
        score: the metric's word; 0 with a failure beside it where there is none.
        failure: what went wrong, or None.
        trace: the predictor calls.
        calls: the LM calls.
        seconds: wall time of this example.
    """

    index: int
    example: Example
    prediction: Any
    score: Score
    failure: Failure | None
    trace: Trace
    calls: tuple[Call, ...]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The row for files: the same for the same replies, so no times."""
        return {
            "index": self.index,
            "example": self.example.to_json(),
            "prediction": plain(self.prediction),
            "score": self.score.value,
            "parts": dict(self.score.parts),
            "feedback": self.score.feedback,
            "failure": self.failure.to_json() if self.failure else None,
            "replies": [reply for step in self.trace.steps for reply in step.replies],
        }


@dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation.

    Args:
        rows: one for each example, in the data's order.
        seconds: wall time of the whole.
    """

    rows: tuple[Row, ...]
    seconds: float = 0.0

    @cached_property
    def score(self) -> float:
        """The mean score, in [0, 1]; failed examples count as 0."""
        return sum(self.values) / len(self.rows)

    @cached_property
    def values(self) -> tuple[float, ...]:
        """Scores in the data's order."""
        return tuple(row.score.value for row in self.rows)

    @cached_property
    def interval(self) -> Interval:
        """The 95 % interval of the mean score."""
        return mean_interval(self.values)

    @cached_property
    def failures(self) -> dict[FailureKind, int]:
        """How many examples failed, by kind."""
        return dict(Counter(row.failure.kind for row in self.rows if row.failure))

    @cached_property
    def parts(self) -> dict[str, float]:
        """The means of the metric's parts, where it has any."""
        sums: dict[str, float] = {}
        for row in self.rows:
            for name, value in row.score.parts.items():
                sums[name] = sums.get(name, 0.0) + value
        return {name: value / len(self.rows) for name, value in sums.items()}

    @cached_property
    def usage(self) -> Usage:
        """Tokens of all calls, cached or not."""
        return sum((call.reply.usage for row in self.rows for call in row.calls), Usage())

    @cached_property
    def calls(self) -> int:
        """LM calls, cached or not."""
        return sum(len(row.calls) for row in self.rows)

    @cached_property
    def fresh_calls(self) -> int:
        """LM calls that reached the LM."""
        return sum(not call.reply.cached for row in self.rows for call in row.calls)

    @cached_property
    def usd(self) -> float:
        """What all calls cost, cached or not."""
        return sum(call.usd for row in self.rows for call in row.calls)

    def latency(self, share: float = 0.5) -> float:
        """The time below which this share of the examples ended, in seconds."""
        times = sorted(row.seconds for row in self.rows)
        return times[min(int(share * len(times)), len(times) - 1)]

    def save(self, path: str | Path) -> None:
        """Write the rows to a file, one line each.

        Args:
            path: a name that ends in `.jsonl` or `.csv`.

        Raises:
            DataError: if the name or the folder is wrong.
        """
        from lmpipe.rows import check_rows_file, write_rows

        check_rows_file(Path(path))
        write_rows(Path(path), self)

    def __str__(self) -> str:
        failures = ", ".join(f"{count} {kind}" for kind, count in self.failures.items())
        return (
            f"{self.score:.1%} ({self.interval.low:.1%} to {self.interval.high:.1%}) on "
            f"{len(self.rows)} examples, failures: {failures or 'none'}, {self.calls} LM calls"
        )

    def summary(self) -> dict[str, Any]:
        """The figures as JSON."""
        return {
            "score": self.score,
            "interval": [self.interval.low, self.interval.high],
            "examples": len(self.rows),
            "failures": dict(self.failures),
            "parts": self.parts,
            "calls": self.calls,
            "tokens": self.usage.tokens,
            "usd": self.usd,
        }


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
    """

    concurrency: int = DEFAULT_CONCURRENCY
    scope: Mapping[str, Any] = field(default_factory=dict)
    admission: Admission = field(default_factory=_Open)
    on_row: Callable[[Row], None] | None = None
    few: bool = False


def evaluate(
    program: Module,
    data: Sequence[Example],
    metric: Metric,
    *,
    lm: LM | None = None,
    concurrency: int = DEFAULT_CONCURRENCY,
    on_row: Callable[[Row], None] | None = None,
) -> Evaluation:
    """Score a program on data.

    Args:
        program: what to score.
        data: examples with inputs and labels.
        metric: how good a prediction is.
        lm: the LM, in place of the configured one.
        concurrency: examples in flight at a time.
        on_row: called as each row ends.

    Raises:
        DataError: if the data are empty or do not fit the program's inputs.
        MetricError: if the metric breaks its contract, or raises on every row.
        LMError: if the LM is away after retries.
    """
    return loop.run_sync(
        aevaluate(program, data, metric, lm=lm, concurrency=concurrency, on_row=on_row)
    )


async def aevaluate(
    program: Module,
    data: Sequence[Example],
    metric: Metric,
    *,
    lm: LM | None = None,
    concurrency: int = DEFAULT_CONCURRENCY,
    on_row: Callable[[Row], None] | None = None,
) -> Evaluation:
    """`evaluate` from a coroutine."""
    check_not_empty("data", data)
    check_inputs(program, data[0])
    bound = program.bind(program.state())
    settings = current_settings()
    with using(lm=lm or settings.lm):
        options = RunOptions(concurrency=concurrency, on_row=on_row)
        return await run_examples(bound, data, metric, options)


async def run_examples(
    program: Module, examples: Sequence[Example], metric: Metric, options: RunOptions
) -> Evaluation:
    """Run a program on examples; rows come back in the examples' order.

    Raises:
        ConfigError: if the concurrency is below 1.
        BudgetExhaustedError: if the budget ends before the examples do.
        MetricError: if the metric breaks its contract, or raises on every row.
        LMError: if the LM is away, or refuses every row.
    """
    if options.concurrency < 1:
        raise ConfigError(f"concurrency is {options.concurrency}, must be 1 or more")
    started = time.perf_counter()
    judge = bind_metric(metric)
    limit = asyncio.Semaphore(options.concurrency)
    rows: list[Row] = []

    async def run_one(index: int, example: Example) -> None:
        calls: list[Call] = []
        try:
            row = await _run_row(program, index, example, judge, calls, options.scope)
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
    scope: Mapping[str, Any],
) -> Row:
    started = time.perf_counter()
    prediction, trace, failure, score = None, Trace(), None, Score(0.0)
    try:
        prediction = await run_traced(program, example.inputs, trace, calls=calls, **scope)
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
    kinds = {row.failure.kind if row.failure else None for row in rows}
    if kinds == {"metric"}:
        failure = rows[0].failure
        assert failure is not None
        raise MetricError(
            f"the metric raised on every one of {len(rows)} rows; on the first: {failure.message}"
            f"{_place(failure.raw)}"
        )
    if all(row.failure and row.failure.message.startswith("CallError: ") for row in rows):
        failure = rows[0].failure
        assert failure is not None
        raise CallError(f"on every one of {len(rows)} rows: {failure.message}")
    if kinds == {"request"}:
        failure = rows[0].failure
        assert failure is not None
        raise LMRequestError(f"the LM refused every one of {len(rows)} rows: {failure.message}")


def _place(raw: str) -> str:
    """Where a traceback ends, for one line of a message."""
    found = re.findall(r'File "(.+)", line (\d+)', raw)
    return f" at {found[-1][0]}:{found[-1][1]}" if found else ""


def check_inputs(program: Module, example: Example) -> None:
    """Check that an example's inputs are what the program takes.

    Raises:
        DataError: if not; shows both.
    """
    import inspect

    from lmpipe.program import Predictor

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


def plain(value: Any) -> Any:
    """Turn what a program returned into JSON; a signature instance gives its outputs."""
    from pydantic_core import to_jsonable_python

    from lmpipe.signature import Signature, spec_of

    if isinstance(value, Signature):
        spec = spec_of(type(value))
        return {field.name: field.dump(getattr(value, field.name)) for field in spec.outputs}
    return to_jsonable_python(value, fallback=str)
