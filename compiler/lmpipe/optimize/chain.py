"""`Chain`: optimizers in sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lmpipe.errors import RecipeError
from lmpipe.optimize.engine.optimizer import Cost, Optimizer, Sizes, check_optimizer
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.layout_search import LayoutSearch
from lmpipe.optimize.random_search import RandomSearch
from lmpipe.state.program_state import ProgramState


@dataclass(frozen=True, kw_only=True)
class Chain:
    """Run optimizers in sequence, each starting from the best state so far.

    A stage that makes the program worse changes nothing for the next one: the best state on
    validation is kept.

    Source: the alternating stages of BetterTogether (arXiv 2407.10930, section 3).

    Cost: the cost of all stages, and at most one run of the program for each validation example
    after each stage.

    Args:
        stages: the optimizers, in order.

    Raises:
        RecipeError: if there are no stages, one is not an optimizer, or one that makes an ensemble
            is not the last.
    """

    stages: tuple[Optimizer, ...] = (LayoutSearch(), RandomSearch())
    name: str = "chain"

    def __post_init__(self) -> None:
        if not self.stages:
            raise RecipeError("Chain(stages=()): needs one optimizer or more")
        for stage in self.stages:
            check_optimizer("Chain", "stages", stage)
        for stage in self.stages[:-1]:
            if stage.cost(Sizes(1, 1)).per_result > 1:
                raise RecipeError(
                    f"{stage.name!r} makes an ensemble, from which no other optimizer can start: "
                    "make it the last stage of the Chain"
                )

    async def optimize(self, task: Task) -> ProgramState:
        state = task.start
        for number, stage in enumerate(self.stages, start=1):
            task.note("stage", number=number, optimizer=stage.name)
            result = await stage.optimize(task.starting_from(state, stage=f"stage {number}"))
            await task.race([(stage.name, result)])
            state = task.best.state
        return state

    def cost(self, sizes: Sizes) -> Cost:
        own = Cost(len(self.stages) * sizes.val)
        return sum((stage.cost(sizes) for stage in self.stages), own)

    def settings(self) -> dict[str, Any]:
        stages = [{"name": stage.name, **stage.settings()} for stage in self.stages]
        return {"name": self.name, "stages": stages}
