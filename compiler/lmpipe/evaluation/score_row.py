"""Run a program on one example, score its prediction, and classify failures."""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lmpipe.data.example import Example
from lmpipe.data.identity import ExampleIdentity
from lmpipe.errors import (
    CutError,
    LMRequestError,
    OutputError,
    RefusalError,
)
from lmpipe.evaluation.results import Failure, FailureKind, Row
from lmpipe.foundation.time_limits import within
from lmpipe.lm.call import Call
from lmpipe.lm.lm import LM
from lmpipe.lm.scope import scope
from lmpipe.metrics import BoundMetric, Score, with_typed_labels
from lmpipe.modules.module import Module, run_traced
from lmpipe.modules.row_errors import is_about_row
from lmpipe.settings import current_settings, using
from lmpipe.state.trace import Trace


@dataclass(frozen=True)
class Scorer:
    """A metric with the LM of its predictors that name none; None is the configured LM.

    `max_calls` is the maximum number of LM calls for one row; None means unlimited.
    """

    metric: BoundMetric
    lm: LM | None = None
    max_calls: int | None = None

    async def __call__(
        self, example: Example, prediction: Any, trace: Trace, calls: list[Call]
    ) -> Score:
        """Score a prediction. LM calls have the role `judge` and are not in the program's trace.

        The metric gets the labels in the types of the prediction's outputs.
        """
        example = with_typed_labels(example, prediction)
        surrounding = scope(
            trace=None,
            lm=None,
            sample=0,
            decoding=(),
            role="judge",
            calls=calls,
            max_calls=self.max_calls,
            example=None,
            evaluating=True,
        )
        with surrounding:
            if self.lm is None:
                return await self.metric(example, prediction, trace)
            with using(lm=self.lm, runtime=current_settings().runtime):
                return await self.metric(example, prediction, trace)


async def score_row(
    program: Module,
    index: int,
    example: Example,
    scorer: Scorer,
    calls: list[Call],
    overrides: Mapping[str, Any],
    timeout: float | None = None,  # noqa: ASYNC109 - None must cost nothing
) -> Row:
    """Run a program on an example and score what it returns.

    Args:
        calls: a list to which the LM calls of program and metric are added.
        overrides: fields of `lm.scope.Scope` for the run.
        timeout: the maximum time of the program in seconds; if it takes longer, the row is a
            failure of kind `deadline`. None means unlimited.

    Raises:
        LMError: if an LM is unavailable, or refuses every request.
        ToolServerError: if a server of tools is gone.
        InputError: if an argument is wrong for all rows, not just this one.
        StorageError: if a reply cannot be recorded: what lmpipe cannot do is not a row's failure.
    """
    started = time.perf_counter()
    # The prompts of the run leave out demonstrations that hold this example's answer.
    trace = Trace(example=ExampleIdentity.of(example))
    prediction, failure, score = None, None, Score(0.0)
    try:
        running = run_traced(
            program, example.inputs, trace, calls=calls, evaluating=True, **overrides
        )
        prediction = await within(
            timeout, running, late=lambda: _OverdueError(f"took longer than {timeout:g} seconds")
        )
    except _OverdueError as error:
        failure = Failure("deadline", str(error))
    except Exception as error:  # noqa: BLE001 - a program may raise anything; the row keeps it
        failure = _failure("program", error)
    if failure is None:
        try:
            score = await scorer(example, prediction, trace, calls)
        except Exception as error:  # noqa: BLE001 - as may a metric
            failure = _failure("metric", error)
    # The program may have caught this error and returned something else.
    if (broken := getattr(current_settings().runtime.store, "failure", None)) is not None:
        raise broken
    seconds = time.perf_counter() - started
    return Row(index, example, prediction, score, failure, trace, tuple(calls), seconds)


class _OverdueError(Exception):
    """The program exceeded the timeout of its row."""


def _failure(kind: Literal["program", "metric"], error: Exception) -> Failure:
    """Describe an error, or raise it again if the LM or an argument causes it, not this row."""
    if not is_about_row(error):
        raise error
    if kind == "program" and isinstance(error, OutputError):
        return Failure(_output_kind(error), str(error), error.raw)
    if kind == "program" and isinstance(error, LMRequestError):
        return Failure("request", str(error))
    text = "".join(traceback.format_exception(error))
    return Failure(kind, f"{type(error).__name__}: {error}", text)


def _output_kind(error: OutputError) -> FailureKind:
    match error:
        case CutError():
            return "cut"
        case RefusalError():
            return "refusal"
    return "output"
