"""`BootstrapFewShot`: demonstrations from the teacher's own successful runs."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lmpipe.optimize.engine.events import Rollout
from lmpipe.optimize.engine.optimizer import Cost, Sizes
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.shared.demos import (
    bootstrapped_demos,
    distinct_demos,
    draw_demos,
    labeled_demos,
    teacher_state,
    with_demos,
)
from lmpipe.state.program_state import Demo, ProgramState

# Rollouts are started in blocks of this size, whatever the concurrency: where the search for
# demonstrations stops must not depend on how many run at once.
BLOCK = 16


@dataclass(frozen=True, kw_only=True)
class BootstrapFewShot:
    """Run the teacher on training examples and keep the traces that the metric passes.

    Source: arXiv 2310.03714, section 4 and algorithm 1. Cost: at most `rounds` runs of the
    program for each training example; it stops at the first block that fills the demonstrations.

    Args:
        bootstrapped: demonstrations from passed rollouts, for each predictor.
        labeled: labeled examples that fill up after those, for each predictor.
        rounds: samples of each example that has not passed; the first is greedy.
        threshold: the score from which a rollout passes.
        teacher_demos: labeled examples that the teacher itself is shown.
    """

    bootstrapped: int = 4
    labeled: int = 8
    rounds: int = 1
    threshold: float = 1.0
    teacher_demos: int = 8
    name: str = "bootstrap"

    async def optimize(self, task: Task) -> ProgramState:
        predictors = task.predictors
        pools = labeled_demos(predictors, task.train)
        rng = task.rng("bootstrap")
        passed = await self.passed(task, rng, enough=self.bootstrapped)
        own = bootstrapped_demos(passed, rng)
        return with_demos(
            task.start,
            {
                path: self._fill(
                    own.get(path, [])[: self.bootstrapped],
                    draw_demos(predictors[path].spec, pools[path], self.labeled, rng),
                )
                for path in predictors
            },
        )

    def _fill(self, own: Sequence[Demo], labeled: Sequence[Demo]) -> list[Demo]:
        room = max(self.labeled, len(own))
        return distinct_demos([*own, *labeled])[:room]

    async def passed(self, task: Task, rng: random.Random, *, enough: int) -> list[Rollout]:
        """Passed rollouts of a teacher that is shown labeled examples, drawn by `rng`."""
        teacher = teacher_state(task, self.teacher_demos, rng)
        return await self.collect(task, teacher, enough=enough)

    async def collect(self, task: Task, teacher: ProgramState, *, enough: int) -> list[Rollout]:
        """Roll out block by block until `enough` examples have passed or the rounds are over."""
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

    def settings(self) -> dict[str, Any]:
        return asdict(self)
