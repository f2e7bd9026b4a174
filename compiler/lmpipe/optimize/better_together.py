"""`BetterTogether`: prompts and weights in turns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lmpipe.errors import RecipeError
from lmpipe.optimize.chain import Chain
from lmpipe.optimize.engine.optimizer import Cost, Optimizer, Sizes
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.finetune import BootstrapFinetune
from lmpipe.optimize.knn_few_shot import KNNFewShot
from lmpipe.state.program_state import ProgramState


@dataclass(frozen=True, kw_only=True)
class BetterTogether:
    """Optimize the prompt, then the weights, then the prompt of the trained program.

    Each stage starts from the best so far, so that the teacher of the weights runs with the best
    prompt, and the prompt is searched again for what the weights have become.

    Source: Soylu et al., "Fine-Tuning and Prompt Optimization: Two Great Steps that Work Better
    Together" (arXiv 2407.10930, section 3).

    Cost: that of its stages, and one run for each validation example and stage.

    Args:
        prompt: searches prompts.
        weights: trains weights.
        order: the stages, `p` for the prompt and `w` for the weights.

    Raises:
        RecipeError: if the order has other letters, or none.
    """

    prompt: Optimizer = field(default_factory=KNNFewShot)
    weights: Optimizer = field(default_factory=BootstrapFinetune)
    order: str = "pwp"
    name: str = "better-together"

    def __post_init__(self) -> None:
        if not self.order or set(self.order) - {"p", "w"}:
            raise RecipeError(
                f"the order of BetterTogether is {self.order!r}: give stages as letters, p for "
                "the prompt and w for the weights, such as 'pwp'"
            )

    async def optimize(self, task: Task) -> ProgramState:
        return await self._chain().optimize(task)

    def cost(self, sizes: Sizes) -> Cost:
        return self._chain().cost(sizes)

    def settings(self) -> dict[str, Any]:
        parts = {"prompt": self.prompt, "weights": self.weights}
        own = {key: {"name": part.name, **part.settings()} for key, part in parts.items()}
        return {"name": self.name, "order": self.order, **own}

    def _chain(self) -> Chain:
        stage = {"p": self.prompt, "w": self.weights}
        return Chain(stages=tuple(stage[letter] for letter in self.order))
