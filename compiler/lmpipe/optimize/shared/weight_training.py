"""From rollouts to weights: rows, training, and the gate that keeps what helps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from lmpipe.modules.module import Predictor
from lmpipe.optimize.engine.events import Rollout
from lmpipe.optimize.engine.optimizer import Sizes
from lmpipe.optimize.engine.task import Task
from lmpipe.state.program_state import ProgramState
from lmpipe.state.trace import Trace
from lmpipe.weights.rows import TrainingRow, preference_rows, training_rows
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
    """Train weights on rollouts, and keep those that help.

    Args:
        task: the task.
        start: what the student runs with beside its weights.
        rollouts: the teacher's runs.
        training: how weights are trained.
        threshold: the score from which a predictor learns from a run.
        shared: the same weights for all predictors.

    Returns:
        The best state so far, with or without trained weights.
    """
    seed = (training.seed + task.rng("training").getrandbits(31)) % 2**32
    training = replace(training, seed=seed)
    rows = _rows(task, start, rollouts, training, threshold)
    task.note("rows", counts={path: len(items) for path, items in rows.items()})
    weights = await _weights(task, {p: r for p, r in rows.items() if r}, training, shared=shared)
    if weights:
        await _gate(task, start, weights)
    return task.best.state


def gate_cost(sizes: Sizes) -> int:
    """The most runs that it takes to find out which weights help."""
    return (sizes.predictors * (sizes.predictors + 1) // 2 + 1) * sizes.val


def _rows(
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
            good = own_score(rollout, predictor) >= threshold and rollout.row.failure is None
            (passed if good else failed)[path].append(rollout.row.trace)
    program = task.program.bind(start)
    if training.method == "sft":
        return training_rows(program, passed)
    return preference_rows(program, passed, failed)


def own_score(rollout: Rollout, predictor: Predictor) -> float:
    """How well a predictor did in a run: by its own outputs, where the metric tells of them.

    A metric that has parts by the names of output fields, as `lmpipe.metrics.fields` does, judges
    each predictor by the mean of its own; any other judges all of them by the whole.
    """
    score = rollout.row.score
    own = [score.parts[name] for name in predictor.spec.output_names if name in score.parts]
    return sum(own) / len(own) if own else score.value


async def _weights(
    task: Task,
    rows: Mapping[str, Sequence[TrainingRow]],
    training: TrainingSettings,
    *,
    shared: bool,
) -> dict[str, Weights]:
    if shared and rows:
        together = list(dict.fromkeys(row for items in rows.values() for row in items))
        weights = await task.train_weights("shared", together, training)
        return dict.fromkeys(task.predictors, weights)
    return {path: await task.train_weights(path, items, training) for path, items in rows.items()}


async def _gate(task: Task, start: ProgramState, weights: Mapping[str, Weights]) -> None:
    """Race the program with all weights, then without single ones, as long as that helps."""
    kept = dict(weights)
    what = "models" if any(isinstance(one, str) for one in kept.values()) else "adapters"
    await task.race([(f"all {what}", _with(start, kept))])
    while len(set(kept.values())) > 1:
        fewer = {
            path: {other: one for other, one in kept.items() if other != path} for path in kept
        }
        await task.race(
            [(f"no {what[:-1]} for {path}", _with(start, rest)) for path, rest in fewer.items()]
        )
        better = [rest for rest in fewer.values() if _with(start, rest) == task.best.state]
        if not better:
            return
        kept = better[0]


def _with(start: ProgramState, weights: Mapping[str, Weights]) -> ProgramState:
    changed = {
        path: start[path].replace(lm=one, adapter=None)
        if isinstance(one, str)
        else start[path].replace(adapter=one)
        for path, one in weights.items()
    }
    return start.update(changed)
