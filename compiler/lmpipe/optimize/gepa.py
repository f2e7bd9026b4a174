"""`GEPA`: instructions that evolve by reflection on what went wrong."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from lmpipe.errors import RecipeError
from lmpipe.optimize.engine.optimizer import Cost, Sizes
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.gepa_package import GepaCallbacks, Silent
from lmpipe.optimize.shared.blocking_library import StepRunner, load_library, run_library
from lmpipe.state.program_state import ProgramState

Effort = Literal["light", "medium", "heavy"]
Components = Literal["round_robin", "all"]

# Candidates that join the pool, and tries that each of them takes.
_JOINING = {"light": 4, "medium": 8, "heavy": 16}
_TRIES = 3
# gepa tests a merge on so many validation examples before it scores it on all.
_MERGE_TEST = 5


@dataclass(frozen=True, kw_only=True)
class GEPA:
    """Evolve instructions: reflect on a few runs, keep what is best on any example, and merge.

    "GEPA: Reflective prompt evolution can outperform reinforcement learning" (arXiv 2507.19457,
    algorithms 1 to 4), on the `gepa` package. Of the candidates that are best on some
    validation example, one is drawn; it runs on a minibatch of training examples, and the
    proposer rewrites the instruction of a predictor from those runs and the metric's feedback.
    A child that does better on the same minibatch joins the pool. Two descendants that changed
    other predictors than each other may be merged.

    What joins the pool is scored on all validation examples, without a race: which candidates
    are the best on an example is known only where all of them have been run.

    Cost: at most `calls` runs of the program, validation of the start included, and a question
    for each `minibatch` of them that validation leaves over.

    Args:
        effort: how many runs, from the sizes: enough for some 4, 8 or 16 candidates in the pool,
            and half as many for each further predictor.
        calls: runs of the program instead.
        minibatch: training examples to reflect on.
        merge: whether to merge, at most 5 times.
        components: whose instruction changes in a step: one predictor's in turn, or all of them.

    Raises:
        RecipeError: if a setting is out of range.
        ConfigError: if the gepa package is not installed, when it is run.
    """

    effort: Effort = "light"
    calls: int | None = None
    minibatch: int = 3
    merge: bool = True
    components: Components = "round_robin"
    name: str = "gepa"

    def __post_init__(self) -> None:
        if self.effort not in get_args(Effort) or self.components not in get_args(Components):
            raise RecipeError(
                f"{self}: effort is one of {', '.join(get_args(Effort))}, and components one of "
                f"{', '.join(get_args(Components))}"
            )
        if self.minibatch < 1 or (self.calls is not None and self.calls < 1):
            raise RecipeError(f"{self}: needs 1 call and a minibatch of 1 or more")

    async def optimize(self, task: Task) -> ProgramState:
        gepa = load_library("gepa", optimizer="GEPA", extra="gepa")
        sizes = Sizes(len(task.train), len(task.val), len(task.predictors))
        step = self._step(sizes)
        last = self._runs(sizes) - step

        def search(steps: StepRunner) -> None:
            adapter = GepaCallbacks(task, steps, gepa)
            gepa.optimize(
                seed_candidate=adapter.texts(task.start),
                trainset=[("train", index) for index in range(sizes.train)],
                valset=[("val", index) for index in range(sizes.val)],
                adapter=adapter,
                module_selector=self.components,
                reflection_minibatch_size=min(self.minibatch, sizes.train),
                use_merge=self.merge and sizes.predictors > 1,
                merge_val_overlap_floor=min(_MERGE_TEST, sizes.val),
                # It looks between steps alone: a step that could pass the bound is not begun.
                stop_callbacks=lambda state: state.total_num_evals > last,
                seed=task.rng("gepa").getrandbits(32),
                logger=Silent(),
                track_best_outputs=False,
                raise_on_exception=True,
            )

        await run_library(search)
        return task.best.state

    def cost(self, sizes: Sizes) -> Cost:
        runs = self._runs(sizes)
        minibatch = max(1, min(self.minibatch, sizes.train))
        reflections = max(0, -(-(runs - sizes.val) // minibatch))
        asked = sizes.predictors if self.components == "all" else 1
        return Cost(max(runs, sizes.val), asks=reflections * asked)

    def settings(self) -> dict[str, Any]:
        return asdict(self)

    def _runs(self, sizes: Sizes) -> int:
        if self.calls is not None:
            return self.calls
        joining = math.ceil(_JOINING[self.effort] * (1 + sizes.predictors) / 2)
        return sizes.val + joining * (sizes.val + _TRIES * 2 * self.minibatch)

    def _step(self, sizes: Sizes) -> int:
        """The most runs that gepa makes between two looks at the bound."""
        return max(2 * min(self.minibatch, sizes.train), _MERGE_TEST) + sizes.val
