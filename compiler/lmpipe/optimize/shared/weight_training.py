"""From rollouts to weights: make the rows, train, and gate the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lmpipe.optimize.engine.events import Rollout
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.shared.judged_runs import JudgedRuns
from lmpipe.optimize.shared.row_selection import RowSelection
from lmpipe.optimize.shared.weight_gate import gate_weights
from lmpipe.state.program_state import ProgramState
from lmpipe.weights.rows import UNTRAINED_LAYOUTS
from lmpipe.weights.settings import TrainingSettings
from lmpipe.weights.trainings import Weights


async def train_and_gate(
    task: Task,
    start: ProgramState,
    rollouts: Sequence[Rollout],
    training: TrainingSettings,
    *,
    threshold: float,
    selection: RowSelection,
    shared: bool = False,
) -> ProgramState:
    """Train weights on rollouts, keep those that help, and return the best state so far.

    A predictor learns from runs that score `threshold` or more; `selection` says how many of their
    rows, and which. If `shared`, one set of weights is trained for all predictors. Predictors with
    a layout that cannot be trained get another one.
    """
    start = _with_trained_layouts(start)
    seed = (training.seed + task.rng("training").getrandbits(31)) % 2**32
    training = replace(training, seed=seed)
    runs = JudgedRuns.of(rollouts, task.predictors, threshold)
    chosen = await selection.choose(task, start, runs, training.method)
    weights: dict[str, Weights] = {}
    if shared and (merged := chosen.merged):
        trained = await task.train_weights(
            "shared", merged, training, choice=chosen.choice(task.predictors)
        )
        weights = dict.fromkeys(task.predictors, trained)
    elif not shared:
        for path, rows in chosen.rows.items():
            if rows:
                weights[path] = await task.train_weights(
                    path, rows, training, choice=chosen.choice([path])
                )
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
