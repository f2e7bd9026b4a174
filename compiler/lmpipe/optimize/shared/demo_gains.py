"""How single demonstrations change what the student does on the examples nearest to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TypeAlias

from lmpipe.data.example import Example
from lmpipe.evaluation.results import Row
from lmpipe.modules.retrieval import NearExamples
from lmpipe.optimize.engine.optimizer import Cost, Sizes
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.shared.draw_demos import with_demos
from lmpipe.state.program_state import Demo, ProgramState

# The demonstrations that one training example gives, one for each predictor.
DemosOfExample: TypeAlias = Mapping[str, Demo]


@dataclass(frozen=True)
class TriedDemos:
    """The student's runs on some examples, each without and with the same demonstrations."""

    runs: Sequence[tuple[Row, Row]]

    def gain(self, score: Callable[[Row], float]) -> float:
        """Return by how much the demonstrations raise the mean score; 0 without runs."""
        return fmean([score(shown) - score(bare) for bare, shown in self.runs] or [0.0])


async def try_demos(
    task: Task,
    student: ProgramState,
    tried: Mapping[Example, DemosOfExample],
    neighbors: int,
) -> list[TriedDemos]:
    """Run the student with the demonstrations of each example alone, and without any.

    Args:
        task: whose training examples the student runs on.
        student: what the student runs with; its own demonstrations are left out.
        tried: the demonstrations, by the training example that they come from.
        neighbors: on how many of the training examples nearest to its own each one is tried.
    """
    bare = _showing(task, student, {})
    near = NearExamples(task.train)
    groups = [near.nearest(example, neighbors) for example in tried]
    examples = list(dict.fromkeys(example for group in groups for example in group))
    pairs = [(bare, example) for example in examples]
    for demos, group in zip(tried.values(), groups, strict=True):
        pairs += [(_showing(task, student, demos), example) for example in group]
    rows = iter(await task.trials(pairs))
    without = {example: next(rows) for example in examples}
    return [TriedDemos([(without[example], next(rows)) for example in group]) for group in groups]


def trying_cost(tried: int, neighbors: int, sizes: Sizes) -> Cost:
    """Return the maximum that `try_demos` does for the demonstrations of `tried` examples."""
    return Cost(tried * neighbors + sizes.train)


def _showing(task: Task, state: ProgramState, demos: DemosOfExample) -> ProgramState:
    """Return a copy of a state that shows these demonstrations and no others."""
    shown = {path: [demos[path]] if path in demos else [] for path in task.predictors}
    return with_demos(state, shown)
