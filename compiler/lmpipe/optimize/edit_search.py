"""`EditSearch`: a few edits of an instruction's lines at a time, behind a held-out gate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import get_args

from lmpipe.errors import RecipeError
from lmpipe.foundation.checks import check_choice
from lmpipe.optimize.edit_search_steps import EditSettings, EditSteps
from lmpipe.optimize.engine.optimizer import Cost, DataclassSettings, Effort, Sizes, check_settings
from lmpipe.optimize.engine.task import Task
from lmpipe.state.program_state import ProgramState

# The number of steps, and how many steps there are for each validation of a state.
_STEPS = {"light": 6, "medium": 12, "heavy": 24}
_STEPS_PER_VALIDATION = 4


@dataclass(frozen=True, kw_only=True)
class EditSearch(DataclassSettings):
    effort: Effort = "light"
    runs: int | None = None
    edits: int = 8
    batch: int = 12
    cases: int = 2
    prompt_weight: float = 0.0
    name: str = "edit-search"

    def __post_init__(self) -> None:
        check_choice("EditSearch", "effort", self.effort, get_args(Effort), error=RecipeError)
        check_settings(self, "runs", minimum=1, integer=True, optional=True)
        check_settings(self, "edits", "batch", "cases", minimum=1, integer=True)
        check_settings(self, "prompt_weight", minimum=0)

    async def optimize(self, task: Task) -> ProgramState:
        sizes = Sizes(len(task.train), len(task.val), len(task.predictors))
        if not task.scored:
            await task.evaluate(task.start, name="as declared")
        search = EditSteps(
            task,
            EditSettings(
                edits=self.edits,
                batch=self._batch_size(sizes),
                cases=self.cases,
                runs=self._max_runs(sizes),
                asks=self.cost(sizes).asks,
                prompt_weight=self.prompt_weight,
            ),
        )
        while not search.ended:
            step = await search.reflect(await search.rollout())
            if step is not None:
                accepted = await search.test(step) and await search.hold_out(step)
                search.learn(step, accepted=accepted)
            await search.gate()
            await search.start_anew()
        await search.gate(last=True)
        return task.best.state

    def cost(self, sizes: Sizes) -> Cost:
        runs = self._max_runs(sizes)
        return Cost(max(runs, sizes.val), asks=max(0, -(-(runs - sizes.val) // self.cases)))

    def _batch_size(self, sizes: Sizes) -> int:
        return min(self.batch, sizes.train)

    def _max_runs(self, sizes: Sizes) -> int:
        if self.runs is not None:
            return self.runs
        steps = math.ceil(_STEPS[self.effort] * (1 + sizes.predictors) / 2)
        validations = 2 + steps // _STEPS_PER_VALIDATION
        return validations * sizes.val + steps * (2 * self.batch + 6)
