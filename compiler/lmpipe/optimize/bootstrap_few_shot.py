"""`BootstrapFewShot`: demonstrations from the teacher's successful runs."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lmpipe.errors import RecipeError
from lmpipe.foundation.checks import check_fields
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

# Rollouts are started in blocks of this size at any concurrency, so that concurrency does not
# change where the collection stops.
BLOCK = 16


@dataclass(frozen=True, kw_only=True)
class BootstrapFewShot:
    """Run the teacher on training examples and show the traces that pass the metric.

    Source: arXiv 2310.03714, section 4 and algorithm 1.

    Cost: at most `rounds` runs of the program for each training example; it stops after the first
    block of 16 in which enough rollouts have passed.

    Args:
        bootstrapped: the maximum number of demonstrations from rollouts, for each predictor.
        labeled: labeled examples fill the demonstrations of each predictor up to this number.
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
        check_fields(self, *counts, minimum=0, integer=True, error=RecipeError)
        check_fields(self, "rounds", minimum=1, integer=True, error=RecipeError)
        check_fields(self, "threshold", minimum=0, maximum=1, error=RecipeError)

    async def optimize(self, task: Task) -> ProgramState:
        predictors = task.predictors
        pools = labeled_demos(predictors, task.train)
        rng = task.rng("bootstrap")
        passed = await self.labeled_teacher_rollouts(task, rng, enough=self.bootstrapped)
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

    async def labeled_teacher_rollouts(
        self, task: Task, rng: random.Random, *, enough: int
    ) -> list[Rollout]:
        """Collect passed rollouts of a teacher that is shown labeled examples.

        Args:
            task: the task.
            rng: draws the labeled examples.
            enough: the number of passed rollouts after which the collection stops.

        Raises:
            BudgetExhaustedError: if the budget ends first.
        """
        teacher = teacher_state(task, self.teacher_demos, rng)
        return await self.passed_rollouts(task, teacher, enough=enough)

    async def passed_rollouts(
        self, task: Task, teacher: ProgramState, *, enough: int
    ) -> list[Rollout]:
        """Collect passed rollouts, block by block, until there are enough or the rounds end.

        Args:
            task: the task.
            teacher: the teacher's state.
            enough: the number of passed rollouts after which the collection stops.

        Raises:
            BudgetExhaustedError: if the budget ends first.
        """
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
