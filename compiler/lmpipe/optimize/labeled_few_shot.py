"""`LabeledFewShot`: labeled training examples as demonstrations."""

from __future__ import annotations

from dataclasses import dataclass

from lmpipe.optimize.engine.optimizer import Cost, DataclassSettings, Sizes, check_settings
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.shared.draw_demos import with_labeled_demos
from lmpipe.state.program_state import ProgramState


@dataclass(frozen=True, kw_only=True)
class LabeledFewShot(DataclassSettings):
    """Show each predictor randomly drawn labeled examples, balanced over its labels.

    Source: arXiv 2310.03714, section 4.

    Cost: no runs of the program.

    Args:
        demos: the number of demonstrations for each predictor, 1 or more.

    Raises:
        RecipeError: if a number is out of range.
    """

    demos: int = 8
    name: str = "labeled"

    def __post_init__(self) -> None:
        check_settings(self, "demos", minimum=1, integer=True)

    async def optimize(self, task: Task) -> ProgramState:
        return with_labeled_demos(task, self.demos, task.rng("labeled"))

    def cost(self, sizes: Sizes) -> Cost:
        return Cost(0)
