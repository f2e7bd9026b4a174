"""One example: the program runs, the metric judges, and what fails is told apart."""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lmpipe.data.example import Example
from lmpipe.errors import CallError, InputError, LMError, LMRequestError, OutputError
from lmpipe.evaluation.results import Failure, Row
from lmpipe.foundation.time_limits import within
from lmpipe.lm.call import Call
from lmpipe.lm.lm import LM
from lmpipe.lm.scope import scope
from lmpipe.metrics import AnyMetric, BoundMetric, Score, bind_metric
from lmpipe.modules.module import Module, run_traced
from lmpipe.settings import current_settings, using
from lmpipe.state.trace import Trace

# The LM refuses all that comes, not this one request.
_REFUSES_ALL = (401, 403, 404)


@dataclass(frozen=True)
class Judge:
    """A metric, and the LM calls that it may make of its own.

    Args:
        score: the metric.
        lm: the LM of predictors in the metric that bring none; None is the configured one.
        max_calls: the most LM calls for one row; None is no limit.
    """

    score: BoundMetric
    lm: LM | None = None
    max_calls: int | None = None

    @staticmethod
    def of(metric: AnyMetric, *, lm: LM | None = None, max_calls: int | None = None) -> Judge:
        """Look at a metric's parameters once, for many rows.

        Raises:
            MetricError: if it is no metric.
        """
        return Judge(bind_metric(metric), lm, max_calls)

    async def __call__(
        self, example: Example, prediction: Any, trace: Trace, calls: list[Call]
    ) -> Score:
        """Score a prediction; LM calls are a judge's, and no part of the program's trace."""
        surrounding = scope(
            trace=None,
            lm=None,
            sample=0,
            decoding=(),
            role="judge",
            calls=calls,
            max_calls=self.max_calls,
        )
        with surrounding:
            if self.lm is None:
                return await self.score(example, prediction, trace)
            with using(lm=self.lm, runtime=current_settings().runtime):
                return await self.score(example, prediction, trace)


async def run_row(
    program: Module,
    index: int,
    example: Example,
    judge: Judge,
    calls: list[Call],
    overrides: Mapping[str, Any],
    timeout: float | None = None,  # noqa: ASYNC109 - None must cost nothing
) -> Row:
    """Run a program on an example and judge what it returns.

    Args:
        program: the program.
        index: the example's place in the data.
        example: the example.
        judge: the metric.
        calls: where the LM calls of both are accounted.
        overrides: fields of `trace.Scope` for the run.
        timeout: the longest that the program may take, in seconds; a row that takes longer is a
            failure of kind `deadline`.

    Raises:
        LMError: if an LM is away, or refuses all that comes.
        InputError: if something handed over is wrong, and not on this row alone.
    """
    started = time.perf_counter()
    prediction, trace, failure, score = None, Trace(), None, Score(0.0)
    try:
        running = run_traced(program, example.inputs, trace, calls=calls, **overrides)
        prediction = await within(
            timeout, running, late=lambda: _OverdueError(f"took longer than {timeout:g} seconds")
        )
    except _OverdueError as error:
        failure = Failure("deadline", str(error))
    except Exception as error:  # noqa: BLE001 - a program may raise anything; the row keeps it
        failure = _program_failure(error)
    if failure is None:
        try:
            score = await judge(example, prediction, trace, calls)
        except Exception as error:  # noqa: BLE001 - so may a metric
            failure = _metric_failure(error)
    seconds = time.perf_counter() - started
    return Row(index, example, prediction, score, failure, trace, tuple(calls), seconds)


class _OverdueError(Exception):
    """The program took longer than its timeout."""


def _program_failure(error: Exception) -> Failure:
    _raise_if_not_of_a_row(error)
    if isinstance(error, OutputError):
        return Failure("output", str(error), error.raw)
    if isinstance(error, LMRequestError):
        return Failure("request", str(error))
    return _failure("program", error)


def _metric_failure(error: Exception) -> Failure:
    _raise_if_not_of_a_row(error)
    return _failure("metric", error)


def refuses_all(error: Exception) -> bool:
    """Whether an LM's refusal is meant for all that comes, as with a wrong key or name."""
    return isinstance(error, LMRequestError) and error.status in _REFUSES_ALL


def _raise_if_not_of_a_row(error: Exception) -> None:
    """Raise what is wrong with an LM or with what was handed over, and so no fault of a row."""
    if isinstance(error, LMRequestError):
        stops = refuses_all(error)
    elif isinstance(error, CallError):
        # What one predictor gave may be wrong for the next: on one row that is bad luck.
        stops = False
    else:
        stops = isinstance(error, LMError | InputError)
    if stops:
        raise error


def _failure(kind: Any, error: Exception) -> Failure:
    text = "".join(traceback.format_exception(error))
    return Failure(kind, f"{type(error).__name__}: {error}", text)
