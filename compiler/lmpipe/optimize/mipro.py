"""`MIPROv2`: instructions and demonstrations, searched together by a Bayesian optimizer."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import get_args

from lmpipe.errors import RecipeError
from lmpipe.foundation.checks import check_choice
from lmpipe.layouts import layout_named
from lmpipe.layouts.suited_layouts import tried_layouts
from lmpipe.optimize.bootstrap_few_shot import demos_of_best
from lmpipe.optimize.engine.optimizer import Cost, DataclassSettings, Effort, Sizes, check_settings
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.mipro_space import Space
from lmpipe.optimize.shared.candidate_names import demos_words
from lmpipe.optimize.shared.demo_sets import demo_choices
from lmpipe.optimize.shared.draw_demos import labeled_demos, merge_pools, with_retrieval
from lmpipe.optimize.shared.grounded_proposals import (
    SUMMARY_ASKS,
    propose_instructions,
    summarize_data,
)
from lmpipe.optimize.shared.tpe import TreeParzen, load_optuna
from lmpipe.state.program_state import Demo, ProgramState

# The numbers of instructions, demonstration sets and trials of each effort.
_EFFORTS = {"light": (4, 6, 12), "medium": (8, 10, 30), "heavy": (14, 16, 60)}
# The number of training examples that the start is run on in search of failures.
_FAILURE_RUNS = 8


@dataclass(frozen=True, kw_only=True)
class MIPROv2(DataclassSettings):
    """Propose grounded instructions, and search them together with demonstrations.

    Instructions are grounded in the program, the data and failed runs. Demonstrations are sets of
    labeled and bootstrapped ones, or the nearest to each input. A tree-structured Parzen estimator
    chooses among them, and among prompt layouts and constrained outputs. Groups of its trials race
    the best candidate so far, in place of the paper's mini-batches with full evaluations in
    between. No combination is tried twice; the search ends early when few new ones are left.

    Source: Opsahl-Ong et al., "Optimizing Instructions and Demonstrations for Multi-Stage Language
    Model Programs" (arXiv 2406.11695, sections 3 and 4), on Optuna (`lmpipe[mipro]`).

    Cost: `trials + 1` runs of the program for each validation example, one for each training
    example, and 8 more; `instructions - 1` questions to the proposer for each predictor, and 3
    more.

    Args:
        effort: how much is tried: `light`, `medium` or `heavy` sets the next three.
        instructions: the number of instructions for each predictor, including the declared one.
        demo_sets: the number of ways to show demonstrations, for each predictor.
        trials: the number of states to score.
        trials_per_race: the number of trials that race together before the next ones are chosen.
        demos: the maximum number of demonstrations for each predictor.
        bootstrapped: the maximum number of them that come from passed rollouts.
        threshold: the score from which a rollout passes, 0 to 1.
        layouts: prompt layouts to try besides the declared ones: if None, the three that suit the
            LM best; if empty, the declared ones are kept.
        try_constrained: whether to try constrained outputs where the program declares free ones,
            and the reverse.
        temperature: the proposer's sampling temperature for instructions, 0 or more; None is
            that of the proposer itself, as it always is for the description of the data.

    Raises:
        RecipeError: if a setting is out of range.
        ConfigError: if a layout has an unknown name, or, when it is run, if Optuna is not
            installed.
    """

    effort: Effort = "light"
    instructions: int | None = None
    demo_sets: int | None = None
    trials: int | None = None
    trials_per_race: int = 6
    demos: int = 12
    bootstrapped: int = 4
    threshold: float = 1.0
    layouts: tuple[str, ...] | None = None
    try_constrained: bool = True
    temperature: float | None = 1.0
    name: str = "mipro"

    def __post_init__(self) -> None:
        check_choice("MIPROv2", "effort", self.effort, get_args(Effort), error=RecipeError)
        sizes, counts = ("instructions", "demo_sets", "trials"), ("trials_per_race", "demos")
        check_settings(self, *sizes, minimum=1, integer=True, optional=True)
        check_settings(self, *counts, minimum=1, integer=True)
        check_settings(self, "bootstrapped", minimum=0, integer=True)
        check_settings(self, "threshold", minimum=0, maximum=1)
        check_settings(self, "temperature", minimum=0, optional=True)
        for layout in self.layouts or ():
            layout_named(layout)

    def _sizes(self) -> list[int]:
        """Return the numbers of instructions, demonstration sets and trials."""
        given = (self.instructions, self.demo_sets, self.trials)
        return [
            preset if own is None else own
            for own, preset in zip(given, _EFFORTS[self.effort], strict=True)
        ]

    async def optimize(self, task: Task) -> ProgramState:
        load_optuna()  # fails, if it does, before any LM call is made
        labeled = labeled_demos(task.predictors, task.train)
        await self._race_nearest(task, labeled)
        space = await self._space(task, labeled)
        parzen = TreeParzen(space.choices(), task.rng("trials"))
        scored = {candidate.state: candidate for candidate in task.candidates}
        for point in space.baselines():
            if known := scored.get(space.state(point)[1]):
                parzen.learn(point, task.estimate(known))
        trials = self._sizes()[2]
        while trials and (points := parzen.ask(min(self.trials_per_race, trials))):
            raced = await task.race([space.state(point) for point in points])
            parzen.tell([task.estimate(candidate) for candidate in raced])
            trials -= len(points)
        return task.best.state

    async def _race_nearest(self, task: Task, labeled: Mapping[str, Sequence[Demo]]) -> None:
        """Race the labeled examples nearest to each input: the best becomes the teacher."""
        k = max(1, 2 * self.demos // 3)
        near = with_retrieval(task.start, labeled, k=k, embedded=await task.embed(labeled))
        await task.race([(demos_words(near), near)])

    async def _space(self, task: Task, labeled: Mapping[str, Sequence[Demo]]) -> Space:
        rng = task.rng("proposals")
        own = await demos_of_best(task, self.bootstrapped, self.threshold, rng)
        instructions = await self._instructions(task, rng)
        embedded = await task.embed(merge_pools(own, labeled))
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
                vectors=partial(embedded, path) if embedded else None,
            )
            for path, predictor in task.predictors.items()
        }
        start = task.start
        suited = tried_layouts(self.layouts, task.student)
        layouts = [layout for layout in suited if start.map(layout=layout) != start]
        tried = (True, False) if self.try_constrained else ()
        constrained = [choice for choice in tried if start.map(constrained=choice) != start]
        return Space(start, instructions, demos, layouts, constrained)

    async def _instructions(self, task: Task, rng: random.Random) -> Mapping[str, list[str]]:
        """Return the instructions of each predictor, the declared one first."""
        found = {path: [task.start[path].instruction] for path in task.predictors}
        count = self._sizes()[0] - 1
        if not count:
            return found
        examples = rng.sample(task.train, min(_FAILURE_RUNS, len(task.train)))
        (tried,) = await task.trial([task.start], examples)
        data = await summarize_data(task, rng)
        for path in found:
            found[path] += await propose_instructions(
                task, path, count, data=data, rows=tried.rows, rng=rng, temperature=self.temperature
            )
        return found

    def cost(self, sizes: Sizes) -> Cost:
        instructions, _, trials = self._sizes()
        runs = (trials + 1) * sizes.val + (sizes.train if self.bootstrapped else 0)
        pools = 2 if self.bootstrapped else 1
        layouts = self.layouts or ()
        if instructions == 1:
            return Cost(runs, pools=pools, layouts=layouts)
        asks = sizes.predictors * (instructions - 1) + SUMMARY_ASKS
        runs += min(_FAILURE_RUNS, sizes.train)
        return Cost(runs, asks=asks, pools=pools, layouts=layouts)
