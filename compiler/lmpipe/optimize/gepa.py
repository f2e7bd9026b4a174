"""`GEPA`: instructions that evolve by reflection on what went wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from lmpipe.errors import RecipeError
from lmpipe.foundation.checks import check_choice
from lmpipe.optimize.engine.optimizer import Cost, DataclassSettings, Effort, Sizes, check_settings
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.gepa_package import MERGE_TEST, run_gepa
from lmpipe.state.program_state import ProgramState

Components = Literal["round_robin", "all"]

# How many candidates should join the pool, and how many steps each of them takes.
_JOINING = {"light": 4, "medium": 8, "heavy": 16}
_STEPS_EACH = 3


@dataclass(frozen=True, kw_only=True)
class GEPA(DataclassSettings):
    """Evolve instructions: reflect on a few runs, keep what is best on any example, and merge.

    Each step draws one of the candidates that are best on some validation example and runs it on
    a mini-batch of training examples. The proposer rewrites the instruction of a predictor from
    those runs and the metric's feedback. If the child scores better on the same mini-batch, it
    joins the pool. Two descendants that changed different predictors may be merged.

    What joins the pool is scored on all validation examples, without racing: which candidates are
    best on some example is only known when all have been run on it.

    Source: "GEPA: Reflective prompt evolution can outperform reinforcement learning" (arXiv
    2507.19457, algorithms 1 to 4), on the `gepa` package (`lmpipe[gepa]`).

    Cost: at most `runs` runs of the program, including the validation of the start, and one
    question to the proposer for every `batch` runs beyond that validation.

    Args:
        effort: how many runs: enough for about 4 (`light`), 8 (`medium`) or 16 (`heavy`)
            candidates in the pool, and half as many more for each further predictor.
        runs: the maximum number of runs of the program, in place of an effort.
        batch: the number of training examples in a mini-batch, 1 or more.
        merge: whether to merge candidates, at most 5 times.
        components: whose instruction a step changes: one predictor's in turn (`round_robin`), or
            those of `all` predictors.

    Raises:
        RecipeError: if a setting is out of range.
        ConfigError: when it is run, if the gepa package is not installed.
    """

    effort: Effort = "light"
    runs: int | None = None
    batch: int = 3
    merge: bool = True
    components: Components = "round_robin"
    name: str = "gepa"

    def __post_init__(self) -> None:
        check_choice("GEPA", "effort", self.effort, get_args(Effort), error=RecipeError)
        check_choice("GEPA", "components", self.components, get_args(Components), error=RecipeError)
        check_settings(self, "runs", minimum=1, integer=True, optional=True)
        check_settings(self, "batch", minimum=1, integer=True)

    async def optimize(self, task: Task) -> ProgramState:
        sizes = Sizes(len(task.train), len(task.val), len(task.predictors))
        batch = self._batch_size(sizes)
        # The package checks the limit only between steps: begin no step that could exceed it.
        longest_step = max(2 * batch, MERGE_TEST) + sizes.val
        await run_gepa(
            task,
            batch=batch,
            merge=self.merge and sizes.predictors > 1,
            components=self.components,
            stop_after=self._max_runs(sizes) - longest_step,
        )
        return task.best.state

    def cost(self, sizes: Sizes) -> Cost:
        runs = self._max_runs(sizes)
        reflections = max(0, -(-(runs - sizes.val) // max(1, self._batch_size(sizes))))
        asked = sizes.predictors if self.components == "all" else 1
        return Cost(max(runs, sizes.val), asks=reflections * asked)

    def _batch_size(self, sizes: Sizes) -> int:
        return min(self.batch, sizes.train)

    def _max_runs(self, sizes: Sizes) -> int:
        if self.runs is not None:
            return self.runs
        joining = math.ceil(_JOINING[self.effort] * (1 + sizes.predictors) / 2)
        return sizes.val + joining * (sizes.val + _STEPS_EACH * 2 * self.batch)
