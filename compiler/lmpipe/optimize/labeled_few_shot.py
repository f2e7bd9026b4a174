"""`LabeledFewShot`: labeled training examples as demonstrations."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from lmpipe.optimize.engine.optimizer import Cost, Sizes
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.shared.demos import draw_demos, labeled_demos, with_demos
from lmpipe.state.program_state import ProgramState


@dataclass(frozen=True, kw_only=True)
class LabeledFewShot:
    """Show each predictor `demos` labeled examples, balanced over its labels.

    Source: arXiv 2310.03714, section 4. Cost: no run of the program.

    Args:
        demos: demonstrations for each predictor.
    """

    demos: int = 8
    name: str = "labeled"

    async def optimize(self, task: Task) -> ProgramState:
        predictors = task.predictors
        pools = labeled_demos(predictors, task.train)
        rng = task.rng("labeled")
        drawn = {
            path: draw_demos(predictors[path].spec, pool, self.demos, rng)
            for path, pool in pools.items()
        }
        return with_demos(task.start, drawn)

    def cost(self, sizes: Sizes) -> Cost:
        return Cost(0)

    def settings(self) -> dict[str, Any]:
        return asdict(self)
