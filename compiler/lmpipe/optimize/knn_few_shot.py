"""`KNNFewShot`: for each input, the demonstrations nearest to it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from lmpipe.errors import RecipeError
from lmpipe.foundation.checks import check_numbers
from lmpipe.modules.offered import can_constrain
from lmpipe.optimize.bootstrap_few_shot import BootstrapFewShot
from lmpipe.optimize.engine.optimizer import Cost, DataclassSettings, Sizes, check_settings
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.shared.candidate_names import demos_words
from lmpipe.optimize.shared.draw_demos import (
    bootstrapped_demos,
    labeled_demos,
    merge_pools,
    with_retrieval,
)
from lmpipe.state.program_state import Demo, ProgramState


@dataclass(frozen=True, kw_only=True)
class KNNFewShot(DataclassSettings):
    """Show each predictor the `k` demonstrations whose inputs are nearest to its own.

    The pool is saved with the state, and calls of the program make no extra LM call. A predictor
    without a pool keeps the demonstrations that it shows. If the recipe has an embedder, the
    nearest are found by embeddings instead of words: the pool's vectors are saved too, and each
    call embeds its inputs.

    Source: Liu et al., "What makes good in-context examples for GPT-3?" (arXiv 2101.06804,
    section 3).

    Cost: `len(k)` runs of the program for each validation example, twice as many if constrained
    outputs are tried too, and one run for each training example if rollouts are needed.

    Args:
        k: numbers of demonstrations to show, each 1 or more; each makes a candidate.
        bootstrap: whether to add passed rollouts of the teacher to the pool; None adds them only
            if a predictor has no labeled examples.
        balanced: whether to show each label about equally often.
        constrained: whether outputs are constrained to their types; None tries both.
        threshold: the score from which a rollout passes, 0 to 1.

    Raises:
        RecipeError: if a number is out of range.
    """

    k: tuple[int, ...] = (4, 8)
    bootstrap: bool | None = None
    balanced: bool = False
    constrained: bool | None = None
    threshold: float = 1.0
    name: str = "knn"

    def __post_init__(self) -> None:
        check_numbers("KNNFewShot", "k", self.k, minimum=1, integer=True, error=RecipeError)
        check_settings(self, "threshold", minimum=0, maximum=1)

    async def optimize(self, task: Task) -> ProgramState:
        pools = await self._pools(task)
        embedded = await task.embed(pools)
        near = partial(with_retrieval, pools=pools, balanced=self.balanced, embedded=embedded)
        candidates = []
        tried = self._constraints if can_constrain(task.predictors) else (False,)
        for constrained in tried:
            start = task.start.map(constrained=constrained)
            for state in (near(start, k=k) for k in self.k):
                words = demos_words(state)
                candidates.append((f"constrained, {words}" if constrained else words, state))
        await task.race(candidates)
        return task.best.state

    @property
    def _constraints(self) -> tuple[bool, ...]:
        return (True, False) if self.constrained is None else (self.constrained,)

    async def _pools(self, task: Task) -> dict[str, list[Demo]]:
        labeled = labeled_demos(task.predictors, task.train)
        rng = task.rng("pools")
        # Shuffled, because the earlier of equally near demonstrations is shown.
        pools = {path: rng.sample(pool, len(pool)) for path, pool in labeled.items()}
        if self.bootstrap or (self.bootstrap is None and not all(pools.values())):
            collector = BootstrapFewShot(threshold=self.threshold)
            passed = await collector.labeled_teacher_rollouts(task, rng, enough=len(task.train))
            return merge_pools(bootstrapped_demos(passed, rng), pools)
        return pools

    def cost(self, sizes: Sizes) -> Cost:
        rollouts = 0 if self.bootstrap is False else sizes.train
        candidates = len(self.k) * len(self._constraints)
        return Cost(candidates * sizes.val + rollouts, pools=1 if self.bootstrap is False else 2)
