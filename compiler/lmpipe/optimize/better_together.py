"""`BetterTogether`: optimize prompts and weights in turn."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lmpipe.errors import RecipeError
from lmpipe.optimize.chain import Chain
from lmpipe.optimize.engine.optimizer import Cost, Optimizer, Sizes, check_optimizer
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.finetune import BootstrapFinetune
from lmpipe.optimize.knn_few_shot import KNNFewShot
from lmpipe.state.program_state import ProgramState


@dataclass(frozen=True, kw_only=True)
class BetterTogether:
    """Optimize the prompt, then the weights, then the prompt of the trained program.

    Each stage starts from the best state so far, so the teacher of the weights runs with the best
    prompt, and the last search optimizes the prompt for the trained weights.

    Source: Soylu et al., "Fine-Tuning and Prompt Optimization: Two Great Steps that Work Better
    Together" (arXiv 2407.10930, section 3).

    Cost: the sum of its stages, and one program run for each validation example and stage.

    Args:
        prompt: the optimizer of prompts.
        weights: the optimizer of weights.
        order: the stages, `p` for the prompt and `w` for the weights.

    Raises:
        RecipeError: if the order is empty or has other letters, or a part is not an optimizer.
    """

    prompt: Optimizer = field(default_factory=KNNFewShot)
    weights: Optimizer = field(default_factory=BootstrapFinetune)
    order: str = "pwp"
    name: str = "better-together"

    def __post_init__(self) -> None:
        check_optimizer("BetterTogether", "prompt", self.prompt)
        check_optimizer("BetterTogether", "weights", self.weights)
        if not self.order or set(self.order) - {"p", "w"}:
            raise RecipeError(
                f"BetterTogether(order={self.order!r}): order must be letters, p for the prompt "
                "and w for the weights, such as 'pwp'"
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
