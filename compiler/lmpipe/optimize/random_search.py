"""`RandomSearch`: many random sets of demonstrations, the best one on validation wins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lmpipe.errors import RecipeError
from lmpipe.layouts import layout_named, layout_names
from lmpipe.optimize.bootstrap_few_shot import BootstrapFewShot
from lmpipe.optimize.engine.optimizer import Cost, Sizes
from lmpipe.optimize.engine.pool_embeddings import PoolEmbeddings
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.shared.demos import (
    bootstrapped_demos,
    distinct_demos,
    draw_demos,
    labeled_demos,
    with_demos,
    with_retrieval,
)
from lmpipe.state.program_state import Demo, ProgramState


@dataclass(frozen=True, kw_only=True)
class RandomSearch:
    """Score candidates that differ in demonstrations, their order and number, and the layout.

    The paper's BootstrapFewShotWithRandomSearch (arXiv 2310.03714, section 4 and appendix E.3),
    which also tries prompt layouts and constrained outputs. The first half of the candidates
    shows labeled examples only; the best of them then is the teacher whose rollouts the second
    half may draw from too.

    Cost: `candidates` runs of the program for each validation example, and at most one for each
    training example.

    Args:
        candidates: states to score, beside the baselines.
        demos: the most demonstrations for each predictor.
        bootstrapped: the most of them that come from passed rollouts; 0 does without rollouts.
        threshold: the score from which a rollout passes.
        retrieval: the share of predictors that show the demonstrations nearest to each input, in
            place of fixed ones.
        layouts: prompt layouts to try.
        constrained: the share of candidates whose outputs are constrained.

    Raises:
        RecipeError: if a number is out of range.
        ConfigError: if there is no such layout.
    """

    candidates: int = 12
    demos: int = 12
    bootstrapped: int = 4
    threshold: float = 1.0
    retrieval: float = 0.35
    layouts: tuple[str, ...] = layout_names()
    constrained: float = 0.75
    name: str = "random-search"

    def __post_init__(self) -> None:
        if self.candidates < 1 or self.demos < 1 or self.bootstrapped < 0 or not self.layouts:
            raise RecipeError(
                f"{self}: needs 1 candidate, demonstration and layout or more, and 0 bootstrapped "
                "or more"
            )
        for layout in self.layouts:
            layout_named(layout)

    async def optimize(self, task: Task) -> ProgramState:
        pools = labeled_demos(task.predictors, task.train)
        half = self.candidates // 2 if self.bootstrapped else self.candidates
        await self._race(task, pools, {}, range(half))
        if half < self.candidates:
            own = await self._bootstrap(task)
            await self._race(task, pools, own, range(half, self.candidates))
        return task.best.state

    async def _race(
        self,
        task: Task,
        pools: Mapping[str, list[Demo]],
        own: Mapping[str, list[Demo]],
        numbers: Sequence[int],
    ) -> None:
        embedded = None
        if self.retrieval and numbers:
            both = {
                path: distinct_demos([*own.get(path, []), *pool]) for path, pool in pools.items()
            }
            embedded = await task.embed(both)
        await task.race([self._propose(task, pools, own, embedded, number) for number in numbers])

    async def _bootstrap(self, task: Task) -> dict[str, list[Demo]]:
        collector = BootstrapFewShot(threshold=self.threshold)
        # Twice as many as one candidate shows, so that candidates can differ.
        passed = await collector.collect(task, task.best.state, enough=2 * self.bootstrapped)
        return bootstrapped_demos(passed, task.rng("bootstrapped demos"))

    def _propose(
        self,
        task: Task,
        pools: Mapping[str, list[Demo]],
        own: Mapping[str, list[Demo]],
        embedded: PoolEmbeddings | None,
        number: int,
    ) -> tuple[str, ProgramState]:
        rng = task.rng(f"candidate {number}")
        # Layouts take turns, so that each is seen with several sets of demonstrations.
        layout = self.layouts[number % len(self.layouts)]
        constrained = rng.random() < self.constrained
        count = rng.randint(max(1, self.demos // 3), self.demos)
        chosen: dict[str, list[Demo]] = {}
        near: dict[str, list[Demo]] = {}
        for path, predictor in task.predictors.items():
            first = own.get(path, [])
            if rng.random() < self.retrieval:
                near[path] = distinct_demos([*first, *pools[path]])
                continue
            kept = rng.sample(first, min(len(first), rng.randint(0, self.bootstrapped), count))
            rest = draw_demos(predictor.spec, pools[path], count, rng)
            chosen[path] = distinct_demos([*kept, *rest])[:count]
            rng.shuffle(chosen[path])
        state = with_demos(task.start.map(layout=layout, constrained=constrained), chosen)
        shown = f"{count} demos" if not near else f"{count} nearest demos"
        if near and chosen:
            shown = f"{count} demos, nearest for {', '.join(near)}"
        name = f"{layout}{', constrained' if constrained else ''}, {shown}"
        return name, with_retrieval(state, near, k=count, embedded=embedded)

    def cost(self, sizes: Sizes) -> Cost:
        bootstrap = sizes.train if self.bootstrapped else 0
        pools = 0 if not self.retrieval else 2 if self.bootstrapped else 1
        return Cost(self.candidates * sizes.val + bootstrap, pools=pools)

    def settings(self) -> dict[str, Any]:
        return {**asdict(self), "layouts": list(self.layouts)}
