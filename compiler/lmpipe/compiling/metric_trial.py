"""Try the metric on gold labels as predictions, before anything is paid for."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lmpipe.compiling.gold_prediction import GoldPrediction, GoldPredictor
from lmpipe.compiling.recipe import PreparedRecipe
from lmpipe.data.example import Example, hidden_fields_hint
from lmpipe.errors import ConfigError, MetricError, RecipeError
from lmpipe.evaluation.score_row import Scorer
from lmpipe.foundation.plural import plural
from lmpipe.foundation.shorten import short_repr
from lmpipe.foundation.source_line import source_line
from lmpipe.metrics import Score, bind_metric, metric_calls, metric_name
from lmpipe.state.trace import Trace

# The first rows of each split tell enough; a slow metric is not waited for longer than this.
_ROWS = 8
_SECONDS = 5.0


@dataclass(frozen=True)
class _Tried:
    """A row on which the metric was tried: its place, its score or the error."""

    place: str
    example: Example
    score: Score
    error: Exception | None


class _EmptyTrace(Trace):
    """A trace without calls, which notes whether the metric reads it."""

    read = False

    def __getattribute__(self, name: str) -> Any:
        if name == "steps":
            self.read = True
        return super().__getattribute__(name)


async def try_metric(prepared: PreparedRecipe) -> str:
    """Score gold labels as if they were predictions.

    A metric that asks an LM is not tried. A row tells nothing if the metric reads the trace or an
    output without a label on it.

    Returns:
        A warning if the metric raises on some rows, or scores gold labels below 1; or nothing.

    Raises:
        MetricError: if the metric raises on every row.
        RecipeError: if it asks an LM but does not declare it.
    """
    metric, gold = prepared.recipe.metric, GoldPredictor.of(prepared.recipe.program)
    if gold is None or metric_calls(metric):
        return ""
    scorer, deadline = Scorer(bind_metric(metric), max_calls=0), time.monotonic() + _SECONDS
    rows: list[_Tried | None] = []
    for place, example in _first_rows(prepared):
        if prediction := gold.predict(example, metric):
            rows.append(await _try(scorer, place, example, prediction))
        if time.monotonic() > deadline:
            break
    tried = [row for row in rows if row is not None]
    failed = [row for row in tried if row.error is not None]
    low = [row for row in tried if row.score.value < 1]
    if not gold.declared and len(failed or low) == len(tried):
        return ""  # the program returns something else than was guessed
    name = metric_name(metric)
    if failed and len(failed) == len(rows):
        raise MetricError(_failure(name, failed, len(tried))) from failed[0].error
    if failed:
        return _failure(name, failed, len(tried))
    return _shortfall(name, low, len(tried)) if low else ""


async def _try(
    scorer: Scorer, place: str, example: Example, prediction: GoldPrediction
) -> _Tried | None:
    """Score one row; None if nothing can be told from it.

    That is so if the metric reads an output without a label, or the program's calls, and if it
    scores a prediction without any label.
    """
    score, error, trace = Score(1.0), None, _EmptyTrace()
    try:
        score = await scorer(example, prediction.value, trace, [])
    except (RecipeError, ConfigError):
        raise  # it asks an LM
    except Exception as raised:  # noqa: BLE001 - a metric may raise anything; it is reported
        error = raised
    if prediction.unlabeled or trace.read or (error is None and not prediction.labeled):
        return None
    return _Tried(place, example, score, error)


def _first_rows(prepared: PreparedRecipe) -> Iterator[tuple[str, Example]]:
    for split in ("train", "val", "test"):
        for number, example in enumerate(getattr(prepared, split)[:_ROWS], start=1):
            yield f"row {number} of {split}", example


def _failure(name: str, failed: list[_Tried], tried: int) -> str:
    first, error = failed[0], failed[0].error
    where = source_line("".join(traceback.format_exception(error)))
    rows = "every row" if len(failed) == tried else f"{len(failed)} of {plural(tried, 'row')}"
    return (
        f"the metric {name!r} was tried on gold labels as the prediction, and raised on {rows}; on "
        f"{first.place}: {type(error).__name__}: {error}{where}; the labels are "
        f"{short_repr(dict(first.example.labels), 300)}; mend the metric or the data"
        f"{_hint(first.example)}"
    )


def _shortfall(name: str, low: list[_Tried], tried: int) -> str:
    first = low[0]
    feedback = f" ({first.score.feedback})" if first.score.feedback else ""
    return (
        f"the metric {name!r} scores gold labels as the prediction below 1 on {len(low)} of "
        f"{plural(tried, 'row')}; on {first.place}: {first.score.value:.3g}{feedback}; the "
        f"labels are {short_repr(dict(first.example.labels), 300)}; so no program can score 1: "
        f"check the metric and the labels{_hint(first.example)}"
    )


def _hint(example: Example) -> str:
    hint = hidden_fields_hint(example)
    return f" ({hint})" if hint else ""
