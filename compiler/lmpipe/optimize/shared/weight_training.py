"""From rollouts to weights: make the rows, train, and gate the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lmpipe.modules.module import Predictor
from lmpipe.optimize.engine.events import Rollout
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.shared.weight_gate import gate_weights
from lmpipe.state.program_state import ProgramState
from lmpipe.state.trace import Trace
from lmpipe.weights.rows import (
    UNTRAINED_LAYOUTS,
    TrainingRow,
    preference_rows,
    training_rows,
)
from lmpipe.weights.settings import TrainingSettings
from lmpipe.weights.trainings import Weights


async def train_and_gate(
    task: Task,
    start: ProgramState,
    rollouts: Sequence[Rollout],
    training: TrainingSettings,
    *,
    threshold: float,
    shared: bool = False,
) -> ProgramState:
    """Train weights on rollouts, keep those that help, and return the best state so far.

    A predictor learns from runs that score `threshold` or more. If `shared`, one set of weights is
    trained for all predictors. Predictors with a layout that cannot be trained get another one.
    """
    start = _with_trained_layouts(start)
    seed = (training.seed + task.rng("training").getrandbits(31)) % 2**32
    training = replace(training, seed=seed)
    rows = _make_rows(task, start, rollouts, training, threshold)
    task.note("rows", counts={path: len(items) for path, items in rows.items()})
    weights: dict[str, Weights] = {}
    if shared and any(rows.values()):
        merged = list(dict.fromkeys(row for items in rows.values() for row in items))
        trained = await task.train_weights("shared", merged, training)
        weights = dict.fromkeys(task.predictors, trained)
    elif not shared:
        for path, items in rows.items():
            if items:
                weights[path] = await task.train_weights(path, items, training)
    if weights:
        await gate_weights(task, start, weights)
    return task.best.state


def _with_trained_layouts(state: ProgramState) -> ProgramState:
    return state.update(
        {
            path: item.replace(layout=UNTRAINED_LAYOUTS[item.layout])
            for path, item in state.predictors.items()
            if item.layout in UNTRAINED_LAYOUTS
        }
    )


def _make_rows(
    task: Task,
    start: ProgramState,
    rollouts: Sequence[Rollout],
    training: TrainingSettings,
    threshold: float,
) -> dict[str, list[TrainingRow]]:
    passed: dict[str, list[Trace]] = {path: [] for path in task.predictors}
    failed: dict[str, list[Trace]] = {path: [] for path in task.predictors}
    for rollout in rollouts:
        for path, predictor in task.predictors.items():
            score = predictor_score(rollout, predictor)
            good = score >= threshold and rollout.row.failure is None
            (passed if good else failed)[path].append(rollout.row.trace)
    program = task.program.bind(start)
    if training.method == "sft":
        return training_rows(program, passed)
    return preference_rows(program, passed, failed)


def predictor_score(rollout: Rollout, predictor: Predictor) -> float:
    """Score one predictor of a run by its own outputs, if the metric has parts for them.

    If the metric's parts are named like output fields, as those of `lmpipe.metrics.fields` are,
    the predictor's score is the mean of those parts; otherwise it is the whole score.
    """
    score = rollout.row.score
    own = [score.parts[name] for name in predictor.spec.output_names if name in score.parts]
    return sum(own) / len(own) if own else score.value
