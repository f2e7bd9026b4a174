"""`BootstrapFewShot`: demonstrations from the teacher's successful runs."""

from __future__ import annotations

import random
from dataclasses import dataclass

from lmpipe.optimize.engine.events import Rollout
from lmpipe.optimize.engine.optimizer import Cost, DataclassSettings, Sizes, check_settings
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.shared.draw_demos import (
    bootstrapped_demos,
    distinct_demos,
    draw_from_pools,
    labeled_demos,
    merge_pools,
    with_demos,
    with_labeled_demos,
)
from lmpipe.state.program_state import Demo, ProgramState

# Rollouts are started in blocks of this size at any concurrency, so that concurrency does not
# change where the collection stops.
BLOCK = 16


@dataclass(frozen=True, kw_only=True)
class BootstrapFewShot(DataclassSettings):
    """Run the teacher on training examples and show the traces that pass the metric.

    Source: arXiv 2310.03714, section 4 and algorithm 1.

    Cost: at most `rounds` runs of the program for each training example; it stops after the first
    block of 16 in which enough rollouts have passed.

    Args:
        bootstrapped: the maximum number of demonstrations from rollouts, for each predictor.
        labeled: the maximum number of demonstrations from labeled examples, for each predictor,
            in addition to those from rollouts and with other inputs.
        rounds: the maximum number of samples of each example until one passes, 1 or more; the
            first sample is greedy.
        threshold: the score from which a rollout passes, 0 to 1.
        teacher_demos: the number of labeled examples that the teacher is shown.

    Raises:
        RecipeError: if a number is out of range.
    """

    bootstrapped: int = 4
    labeled: int = 8
    rounds: int = 1
    threshold: float = 1.0
    teacher_demos: int = 8
    name: str = "bootstrap"

    def __post_init__(self) -> None:
        counts = ("bootstrapped", "labeled", "teacher_demos")
        check_settings(self, *counts, minimum=0, integer=True)
        check_settings(self, "rounds", minimum=1, integer=True)
        check_settings(self, "threshold", minimum=0, maximum=1)

    async def optimize(self, task: Task) -> ProgramState:
        pools = labeled_demos(task.predictors, task.train)
        rng = task.rng("bootstrap")
        passed = await self.labeled_teacher_rollouts(task, rng, enough=self.bootstrapped)
        own = {
            path: distinct_demos(demos)[: self.bootstrapped]
            for path, demos in bootstrapped_demos(passed, rng).items()
        }
        # Own ones come first in a merged pool; the rest has other inputs.
        merged = merge_pools(own, pools)
        others = {path: demos[len(own.get(path, ())) :] for path, demos in merged.items()}
        labeled = draw_from_pools(task, others, self.labeled, rng)
        shown = {
            path: (*own.get(path, ()), *labeled.get(path, ()))
            for path in task.predictors
            if path in own or path in labeled
        }
        return with_demos(task.start, shown)

    async def labeled_teacher_rollouts(
        self, task: Task, rng: random.Random, *, enough: int
    ) -> list[Rollout]:
        """Collect passed rollouts of a teacher that is shown labeled examples, drawn by `rng`."""
        teacher = with_labeled_demos(task, self.teacher_demos, rng)
        return await self.passed_rollouts(task, teacher, enough=enough)

    async def passed_rollouts(
        self, task: Task, teacher: ProgramState, *, enough: int
    ) -> list[Rollout]:
        """Collect passed rollouts, block by block, until there are enough or the rounds end."""
        rng = task.rng("rollout order")
        waiting = rng.sample(list(task.train), len(task.train))
        passed: list[Rollout] = []
        for sample in range(self.rounds):
            failed = []
            for start in range(0, len(waiting), BLOCK):
                if len(passed) >= enough:
                    break
                block = waiting[start : start + BLOCK]
                rollouts = await task.rollouts(
                    teacher, block, sample=sample, threshold=self.threshold
                )
                passed += [rollout for rollout in rollouts if rollout.passed]
                failed += [rollout.row.example for rollout in rollouts if not rollout.passed]
            waiting = failed
        task.note("bootstrapped", passed=len(passed))
        return passed

    def cost(self, sizes: Sizes) -> Cost:
        return Cost(self.rounds * sizes.train)


async def demos_of_best(
    task: Task, count: int, threshold: float, rng: random.Random
) -> dict[str, list[Demo]]:
    """Collect demonstrations from rollouts of the best state: 2 * `count`, so that sets differ."""
    collector = BootstrapFewShot(threshold=threshold)
    passed = await collector.passed_rollouts(task, task.best.state, enough=2 * count)
    return bootstrapped_demos(passed, rng)
