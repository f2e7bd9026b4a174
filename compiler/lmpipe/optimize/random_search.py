"""`RandomSearch`: the best of many random sets of demonstrations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lmpipe.errors import RecipeError
from lmpipe.layouts import layout_named
from lmpipe.layouts.suited_layouts import tried_layouts
from lmpipe.modules.offered import can_constrain, offered_layouts
from lmpipe.optimize.bootstrap_few_shot import demos_of_best
from lmpipe.optimize.engine.optimizer import Cost, DataclassSettings, Sizes, check_settings
from lmpipe.optimize.engine.pool_embeddings import PoolVectors
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.shared.candidate_names import demos_words
from lmpipe.optimize.shared.draw_demos import (
    distinct_demos,
    draw_demos,
    labeled_demos,
    merge_pools,
    with_demos,
    with_labeled_demos,
    with_retrieval,
)
from lmpipe.state.program_state import Demo, ProgramState


@dataclass(frozen=True, kw_only=True)
class RandomSearch(DataclassSettings):
    """Race random candidates that differ in demonstrations, prompt layout and constrained outputs.

    The first candidate is the program as it is with labeled demonstrations, as `LabeledFewShot`
    makes it. The others differ in the choice, order and number of demonstrations, too. The first
    half shows labeled examples only. The best of them then is the teacher, from whose rollouts the
    second half may draw too.

    Source: BootstrapFewShotWithRandomSearch (arXiv 2310.03714, section 4 and appendix E.3), which
    does not vary layouts and constrained outputs.

    Cost: `candidates` runs of the program for each validation example, and at most one run for
    each training example.

    Args:
        candidates: the number of states to score, besides the baselines.
        demos: the maximum number of demonstrations for each predictor.
        bootstrapped: the maximum number of them that come from passed rollouts; 0 makes no
            rollouts.
        threshold: the score from which a rollout passes, 0 to 1.
        retrieval_share: the share of predictors that show the demonstrations nearest to each
            input, in place of fixed ones, 0 to 1.
        layouts: names of the prompt layouts to try; if None, the three that suit the LM best.
        constrained_share: the share of candidates whose outputs are constrained, 0 to 1.

    Raises:
        RecipeError: if there are no layouts, or a number is out of range.
        ConfigError: if a layout has an unknown name.
    """

    candidates: int = 12
    demos: int = 12
    bootstrapped: int = 4
    threshold: float = 1.0
    retrieval_share: float = 0.35
    layouts: tuple[str, ...] | None = None
    constrained_share: float = 0.75
    name: str = "random-search"

    def __post_init__(self) -> None:
        shares = ("threshold", "retrieval_share", "constrained_share")
        check_settings(self, "candidates", "demos", minimum=1, integer=True)
        check_settings(self, "bootstrapped", minimum=0, integer=True)
        check_settings(self, *shares, minimum=0, maximum=1)
        if self.layouts is not None and not self.layouts:
            raise RecipeError("RandomSearch(layouts=()): needs one layout or more")
        for layout in self.layouts or ():
            layout_named(layout)

    async def optimize(self, task: Task) -> ProgramState:
        pools = labeled_demos(task.predictors, task.train)
        half = self.candidates // 2 if self.bootstrapped else self.candidates
        await self._race(task, pools, {}, range(half))
        if half < self.candidates:
            rng = task.rng("bootstrapped demos")
            own = await demos_of_best(task, self.bootstrapped, self.threshold, rng)
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
        if self.retrieval_share and numbers:
            embedded = await task.embed(merge_pools(own, pools))
        await task.race([self._propose(task, pools, own, embedded, number) for number in numbers])

    def _propose(
        self,
        task: Task,
        pools: Mapping[str, list[Demo]],
        own: Mapping[str, list[Demo]],
        embedded: PoolVectors | None,
        number: int,
    ) -> tuple[str, ProgramState]:
        rng = task.rng(f"candidate {number}")
        if not number and any(pools.values()):
            labeled = with_labeled_demos(task, self.demos, rng)
            return f"as it is, {demos_words(labeled)}", labeled
        # Layouts take turns, so that each is tried with several sets of demonstrations.
        layouts = tried_layouts(self.layouts, task.student, offered_layouts(task.predictors))
        layout = layouts[number % len(layouts)]
        constrained = rng.random() < self.constrained_share and can_constrain(task.predictors)
        count = rng.randint(max(1, self.demos // 3), self.demos)
        chosen: dict[str, list[Demo]] = {}
        near: dict[str, list[Demo]] = {}
        for path, predictor in task.predictors.items():
            first = own.get(path, [])
            if rng.random() < self.retrieval_share:
                near[path] = distinct_demos([*first, *pools[path]])
                continue
            kept = rng.sample(first, min(len(first), rng.randint(0, self.bootstrapped), count))
            rest = draw_demos(predictor.spec, pools[path], count, rng)
            chosen[path] = distinct_demos([*kept, *rest])[:count]
            rng.shuffle(chosen[path])
        state = task.start.map(layout=layout, constrained=constrained)
        state = with_demos(state, {path: demos for path, demos in chosen.items() if demos})
        state = with_retrieval(state, near, k=count, embedded=embedded)
        name = f"{layout}{', constrained' if constrained else ''}, {demos_words(state)}"
        return name, state

    def cost(self, sizes: Sizes) -> Cost:
        bootstrap = sizes.train if self.bootstrapped else 0
        pools = 0 if not self.retrieval_share else 2 if self.bootstrapped else 1
        runs = self.candidates * sizes.val + bootstrap
        return Cost(runs, pools=pools, layouts=self.layouts or ())
