"""`KNNFewShot`: demonstrations chosen for each input, those nearest to it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from lmpipe.errors import RecipeError
from lmpipe.optimize.bootstrap_few_shot import BootstrapFewShot
from lmpipe.optimize.engine.optimizer import Cost, Sizes
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.shared.demos import (
    bootstrapped_demos,
    distinct_demos,
    labeled_demos,
    with_retrieval,
)
from lmpipe.state.program_state import Demo, ProgramState


@dataclass(frozen=True, kw_only=True)
class KNNFewShot:
    """Show each predictor the `k` demonstrations whose inputs are nearest to its own.

    The pool is learned state and is saved with it; a call costs no LM call more. A predictor
    without a pool keeps the demonstrations that it shows. Where the recipe names an embedder,
    nearness is that of its vectors and not of words: the pool's are saved too, and a call embeds
    its inputs.

    Source: nearest neighbours in place of fixed demonstrations are Liu et al., "What makes good
    in-context examples for GPT-3?" (arXiv 2101.06804, section 3).

    Cost: `len(k)` runs of the program for each validation example, and one for each training
    example where rollouts are needed.

    Args:
        k: how many to show, one candidate for each number.
        bootstrap: add what the teacher's passed rollouts did to the pool; None does so only where
            a predictor has no labeled examples.
        balanced: let each label be shown about equally often.
        constrained: constrain outputs to their types; None leaves that as it is declared.
        threshold: the score from which a rollout passes.

    Raises:
        RecipeError: if there is no number of demonstrations, or one below 1.
    """

    k: tuple[int, ...] = (4, 8)
    bootstrap: bool | None = None
    balanced: bool = False
    constrained: bool | None = True
    threshold: float = 1.0
    name: str = "knn"

    def __post_init__(self) -> None:
        if not self.k or min(self.k) < 1:
            raise RecipeError(f"{self}: k needs one number of demonstrations or more, from 1 on")

    async def optimize(self, task: Task) -> ProgramState:
        pools = await self._pools(task)
        start = task.start
        if self.constrained is not None:
            start = start.map(constrained=self.constrained)
        embedded = await task.embed(pools)
        near = partial(with_retrieval, start, pools, balanced=self.balanced, embedded=embedded)
        await task.race([(f"{k} nearest demos", near(k=k)) for k in self.k])
        return task.best.state

    async def _pools(self, task: Task) -> dict[str, list[Demo]]:
        labeled = labeled_demos(task.predictors, task.train)
        rng = task.rng("pools")
        # Of demonstrations that are equally near, the earlier ones are shown.
        pools = {path: rng.sample(pool, len(pool)) for path, pool in labeled.items()}
        if self.bootstrap or (self.bootstrap is None and not all(pools.values())):
            collector = BootstrapFewShot(threshold=self.threshold)
            passed = await collector.passed(task, rng, enough=len(task.train))
            own = bootstrapped_demos(passed, rng)
            pools = {
                path: distinct_demos([*own.get(path, []), *pool]) for path, pool in pools.items()
            }
        return pools

    def cost(self, sizes: Sizes) -> Cost:
        rollouts = 0 if self.bootstrap is False else sizes.train
        return Cost(len(self.k) * sizes.val + rollouts, pools=1 if self.bootstrap is False else 2)

    def settings(self) -> dict[str, Any]:
        return {**asdict(self), "k": list(self.k)}
