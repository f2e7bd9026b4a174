"""The gate of trained weights: race them on validation, and keep those that help."""

from __future__ import annotations

from collections.abc import Mapping

from lmpipe.optimize.engine.optimizer import Sizes
from lmpipe.optimize.engine.task import Task
from lmpipe.state.program_state import ProgramState
from lmpipe.weights.trainings import Weights


async def gate_weights(task: Task, start: ProgramState, weights: Mapping[str, Weights]) -> None:
    """Race the program with all weights, then without single ones, as long as that helps.

    The result is the task's best candidate; `weights` are those of each predictor, by path.
    """
    kept = dict(weights)
    kind = "model" if any(isinstance(item, str) for item in kept.values()) else "adapter"
    await task.race([(f"all {kind}s", _with_weights(start, kept))])
    while len(set(kept.values())) > 1:
        subsets = {
            path: {other: item for other, item in kept.items() if other != path} for path in kept
        }
        states = {path: _with_weights(start, subset) for path, subset in subsets.items()}
        await task.race([(f"no {kind} for {path}", state) for path, state in states.items()])
        better = [path for path, state in states.items() if state == task.best.state]
        if not better:
            return
        kept = subsets[better[0]]


def gate_cost(sizes: Sizes) -> int:
    """Return the maximum number of program runs of the gate."""
    return (sizes.predictors * (sizes.predictors + 1) // 2 + 1) * sizes.val


def _with_weights(start: ProgramState, weights: Mapping[str, Weights]) -> ProgramState:
    changed = {
        path: start[path].replace(lm=item, adapter=None)
        if isinstance(item, str)
        else start[path].replace(adapter=item)
        for path, item in weights.items()
    }
    return start.update(changed)
