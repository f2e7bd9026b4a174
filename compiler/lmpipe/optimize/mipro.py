"""`MIPROv2`: instructions and demonstrations together, searched by a Bayesian optimizer."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

from lmpipe.errors import RecipeError
from lmpipe.layouts import layout_named, layout_names
from lmpipe.optimize.bootstrap_few_shot import BootstrapFewShot
from lmpipe.optimize.engine.optimizer import Cost, Sizes
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.mipro_space import Space
from lmpipe.optimize.shared.demo_choices import demo_choices
from lmpipe.optimize.shared.demos import (
    bootstrapped_demos,
    distinct_demos,
    labeled_demos,
    with_retrieval,
)
from lmpipe.optimize.shared.grounded_proposals import (
    SUMMARY_ASKS,
    propose_instructions,
    summarize_data,
)
from lmpipe.optimize.shared.tpe import TreeParzen, load_optuna
from lmpipe.state.program_state import Demo, ProgramState

# Instructions, demonstration sets and trials.
_PRESETS = {"light": (4, 6, 12), "medium": (8, 10, 30), "heavy": (14, 16, 60)}
# Training examples that the start is run on, to see what goes wrong.
_SEEN = 8


@dataclass(frozen=True, kw_only=True)
class MIPROv2:
    """Propose instructions from what is known of the task, and search them with demonstrations.

    Instructions are grounded in the program, the data and runs that went wrong; demonstrations
    are sets of labeled and bootstrapped ones, or the nearest to each input. A tree-structured
    Parzen estimator chooses among them, and among prompt layouts and constrained outputs; each
    batch of its trials races the best so far, in place of minibatches with full evaluations in
    between. No combination is tried twice; where hardly a new one is left, it ends early.

    Source: Opsahl-Ong et al., "Optimizing Instructions and Demonstrations for Multi-Stage Language
    Model Programs" (arXiv 2406.11695, sections 3 and 4). Needs `lmpipe[mipro]` (Optuna).

    Cost: `trials + 1` runs of the program for each validation example, one for each training
    example, and 8; `instructions - 1` questions to the proposer for each predictor, and 3.

    Args:
        preset: how much is tried: `light`, `medium` or `heavy`.
        instructions: instructions for each predictor, the declared one among them.
        demo_sets: ways to show demonstrations, for each predictor.
        trials: states to score.
        batch: trials that race together, before the next ones are chosen.
        demos: the most demonstrations that a predictor shows.
        bootstrapped: the most of them that come from rollouts that passed.
        threshold: the score from which a rollout passes.
        layouts: prompt layouts to try beside the declared ones; empty keeps those.
        constrained: whether to try constrained outputs where they are free, and the reverse.
        temperature: of the proposer, when it writes instructions.

    Raises:
        RecipeError: if a setting is out of range.
        ConfigError: if there is no such layout, or, when it is run, no Optuna.
    """

    preset: Literal["light", "medium", "heavy"] = "light"
    instructions: int | None = None
    demo_sets: int | None = None
    trials: int | None = None
    batch: int = 6
    demos: int = 12
    bootstrapped: int = 4
    threshold: float = 1.0
    layouts: tuple[str, ...] = layout_names()
    constrained: bool = True
    temperature: float = 1.0
    name: str = "mipro"

    def __post_init__(self) -> None:
        if self.preset not in _PRESETS:
            raise RecipeError(f"preset {self.preset!r}: there are {', '.join(_PRESETS)}")
        least = min(*self._sizes(), self.batch, self.demos)
        if least < 1 or self.bootstrapped < 0 or self.temperature < 0:
            raise RecipeError(
                f"{self}: all numbers must be 1 or more, bootstrapped and temperature 0 or more"
            )
        for layout in self.layouts:
            layout_named(layout)

    def _sizes(self) -> tuple[int, int, int]:
        instructions, demo_sets, trials = _PRESETS[self.preset]
        return (
            instructions if self.instructions is None else self.instructions,
            demo_sets if self.demo_sets is None else self.demo_sets,
            trials if self.trials is None else self.trials,
        )

    async def optimize(self, task: Task) -> ProgramState:
        load_optuna()  # before anything is paid for
        labeled = labeled_demos(task.predictors, task.train)
        await self._race_nearest(task, labeled)
        space = await self._space(task, labeled)
        parzen = TreeParzen(space.choices(), task.rng("trials"))
        scored = {candidate.state: candidate for candidate in task.candidates}
        for point in space.baselines():
            if known := scored.get(space.state(point)[1]):
                parzen.learn(point, task.estimate(known))
        trials = self._sizes()[2]
        while trials and (points := parzen.ask(min(self.batch, trials))):
            raced = await task.race([space.state(point) for point in points])
            parzen.tell([task.estimate(candidate) for candidate in raced])
            trials -= len(points)
        return task.best.state

    async def _race_nearest(self, task: Task, labeled: Mapping[str, Sequence[Demo]]) -> None:
        """Race labeled examples that are near to each input: mostly the strongest guess.

        It then is the teacher, and what every trial races, so that weaker ones leave early.
        """
        k = max(1, 2 * self.demos // 3)
        near = with_retrieval(task.start, labeled, k=k, embedded=await task.embed(labeled))
        await task.race([(f"{k} nearest demos", near)])

    async def _space(self, task: Task, labeled: Mapping[str, Sequence[Demo]]) -> Space:
        rng = task.rng("proposals")
        own = await self._bootstrap(task, rng)
        instructions = await self._instructions(task, rng)
        embedded = await task.embed(
            {path: distinct_demos([*own.get(path, []), *pool]) for path, pool in labeled.items()}
        )
        demos = {
            path: demo_choices(
                task.start[path],
                predictor.spec,
                labeled[path],
                own.get(path, []),
                count=self._sizes()[1],
                most=self.demos,
                bootstrapped=self.bootstrapped,
                rng=rng,
                vectors=partial(embedded.vectors, path) if embedded else None,
            )
            for path, predictor in task.predictors.items()
        }
        start = task.start
        layouts = [layout for layout in self.layouts if start.map(layout=layout) != start]
        free = (True, False) if self.constrained else ()
        constrained = [choice for choice in free if start.map(constrained=choice) != start]
        return Space(start, instructions, demos, layouts, constrained)

    async def _bootstrap(self, task: Task, rng: random.Random) -> Mapping[str, list[Demo]]:
        """Demonstrations of rollouts that passed; twice what a set shows, so that sets differ."""
        collector = BootstrapFewShot(threshold=self.threshold)
        enough = 2 * self.bootstrapped
        passed = await collector.collect(task, task.best.state, enough=enough)
        return bootstrapped_demos(passed, rng)

    async def _instructions(self, task: Task, rng: random.Random) -> Mapping[str, list[str]]:
        """The instructions of each predictor, its own one first."""
        found = {path: [task.start[path].instruction] for path in task.predictors}
        count = self._sizes()[0] - 1
        if not count:
            return found
        seen = rng.sample(task.train, min(_SEEN, len(task.train)))
        (tried,) = await task.trial([task.start], seen)
        data = await summarize_data(task, rng)
        for path in found:
            found[path] += await propose_instructions(
                task,
                path,
                count,
                data=data,
                rows=tried.rows,
                rng=rng,
                temperature=self.temperature,
            )
        return found

    def cost(self, sizes: Sizes) -> Cost:
        instructions, _, trials = self._sizes()
        runs = (trials + 1) * sizes.val + (sizes.train if self.bootstrapped else 0)
        pools = 2 if self.bootstrapped else 1
        if instructions == 1:
            return Cost(runs, pools=pools)
        asks = sizes.predictors * (instructions - 1) + SUMMARY_ASKS
        return Cost(runs + min(_SEEN, sizes.train), asks=asks, pools=pools)

    def settings(self) -> dict[str, Any]:
        return {**asdict(self), "layouts": list(self.layouts)}
