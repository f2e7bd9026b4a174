"""Which runs of a program each of its predictors may learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lmpipe.evaluation.results import Row
from lmpipe.modules.module import Predictor
from lmpipe.optimize.engine.events import Rollout


@dataclass(frozen=True)
class JudgedRuns:
    """Rollouts, by the path of a predictor that did well or badly in them."""

    passed: Mapping[str, Sequence[Rollout]]
    failed: Mapping[str, Sequence[Rollout]]

    @staticmethod
    def of(
        rollouts: Sequence[Rollout], predictors: Mapping[str, Predictor], threshold: float
    ) -> JudgedRuns:
        """Judge each predictor in each rollout: it passes with a score of `threshold` or more."""
        passed: dict[str, list[Rollout]] = {path: [] for path in predictors}
        failed: dict[str, list[Rollout]] = {path: [] for path in predictors}
        for rollout in rollouts:
            for path, predictor in predictors.items():
                score = predictor_score(rollout.row, predictor)
                good = score >= threshold and rollout.row.failure is None
                (passed if good else failed)[path].append(rollout)
        return JudgedRuns(passed, failed)


def predictor_score(row: Row, predictor: Predictor) -> float:
    """Score one predictor of a run by its own outputs, if the metric has parts for them.

    If the metric's parts are named like output fields, as those of `lmpipe.metrics.fields` are,
    the predictor's score is the mean of those parts; otherwise it is the whole score.
    """
    score = row.score
    own = [score.parts[name] for name in predictor.spec.output_names if name in score.parts]
    return sum(own) / len(own) if own else score.value
