"""`MIPROv2`: instructions and demonstrations, searched together by a Bayesian optimizer."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import get_args

from lmpipe.errors import RecipeError
from lmpipe.foundation.checks import check_choice
from lmpipe.layouts import layout_named
from lmpipe.layouts.suited_layouts import tried_layouts
from lmpipe.modules.offered import can_constrain, offered_layouts
from lmpipe.optimize.bootstrap_few_shot import BootstrapFewShot
from lmpipe.optimize.engine.optimizer import Cost, DataclassSettings, Effort, Sizes, check_settings
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.mipro_space import Space
from lmpipe.optimize.mipro_trials import Trials
from lmpipe.optimize.shared.candidate_names import demos_words
from lmpipe.optimize.shared.demo_sets import demo_choices
from lmpipe.optimize.shared.draw_demos import (
    bootstrapped_demos,
    labeled_demos,
    merge_pools,
    with_retrieval,
)
from lmpipe.optimize.shared.grounded_proposals import (
    SUMMARY_ASKS,
    propose_instructions,
    summarize_data,
)
from lmpipe.optimize.shared.tpe import SPREAD_POINTS, TreeParzen, load_optuna
from lmpipe.state.program_state import Demo, ProgramState

# The size of each effort: of how many instructions and demonstration sets the search chooses.
# These, and the number of trials for them, are those of DSPy.
_EFFORTS = {"light": 6, "medium": 12, "heavy": 18}
# The number of training examples that a state is run on in search of failures.
_FAILURE_RUNS = 8


@dataclass(frozen=True, kw_only=True)
class MIPROv2(DataclassSettings):
    """Propose grounded instructions, and search them together with demonstrations.

    Instructions are grounded in the program, the data and failed runs. Demonstrations are sets of
    labeled and bootstrapped ones, or the nearest to each input. A tree-structured Parzen estimator
    chooses among them, and among prompt layouts and constrained outputs. Its trials come in
    groups, which race by successive halving: all are run on a first block of validation examples,
    the better half on the next one, and only the best one on all. No combination is tried twice;
    a round of the search ends early when few new ones are left.

    Source: Opsahl-Ong et al., "Optimizing Instructions and Demonstrations for Multi-Stage Language
    Model Programs" (arXiv 2406.11695, sections 3 and 4), on Optuna (`lmpipe[mipro]`). Deviations:
    the instructions are proposed in `proposal_rounds`, of which the later ones improve on the best
    combination so far and see the scores of what was tried (with `proposal_rounds=1`, all are
    proposed before the search, as in the paper); a group races in place of mini-batches with full
    evaluations in between; the first trial shows the nearest demonstrations (unless
    `nearest=False`); layouts and constrained outputs are searched too.

    Cost: `trials` runs of the program for each validation example, one for each training example,
    and 8 more for each round; `instructions - 1` questions to the proposer for each predictor, and
    3 more.

    Args:
        effort: how much is tried: `light`, `medium` or `heavy` sets the next three as DSPy does.
        instructions: the number of instructions for each predictor, including the declared one: 6,
            12 or 18.
        demo_sets: the number of ways to show demonstrations, for each predictor: 6, 12 or 18.
        trials: the number of states to score: by default from the number n of `demo_sets` of the
            effort and the number v of choices that a state is made of, `max(2 v log2(n), 1.5 n)`.
        trials_per_race: the number of trials that race together before the next ones are chosen.
        proposal_rounds: the number of times that instructions are proposed, 1 or more.
        nearest: whether the first trial, and the teacher of the bootstrapped demonstrations, shows
            the labeled examples nearest to each input.
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
    proposal_rounds: int = 3
    nearest: bool = True
    demos: int = 12
    bootstrapped: int = 4
    threshold: float = 1.0
    layouts: tuple[str, ...] | None = None
    try_constrained: bool = True
    temperature: float | None = 1.0
    name: str = "mipro"

    def __post_init__(self) -> None:
        check_choice("MIPROv2", "effort", self.effort, get_args(Effort), error=RecipeError)
        sizes, counts = (
            ("instructions", "demo_sets", "trials"),
            ("trials_per_race", "proposal_rounds", "demos"),
        )
        check_settings(self, *sizes, minimum=1, integer=True, optional=True)
        check_settings(self, *counts, minimum=1, integer=True)
        check_settings(self, "bootstrapped", minimum=0, integer=True)
        check_settings(self, "threshold", minimum=0, maximum=1)
        check_settings(self, "temperature", minimum=0, optional=True)
        for layout in self.layouts or ():
            layout_named(layout)

    async def optimize(self, task: Task) -> ProgramState:
        load_optuna()  # fails, if it does, before any LM call is made
        rng = task.rng("proposals")
        trials = Trials(task, await self._space(task, rng))
        data = await summarize_data(task, rng) if self._instructions > 1 else ""
        for number, (asks, enough) in enumerate(self._rounds(len(task.predictors))):
            moves = trials.add_instructions(await self._propose(task, trials, asks, data, rng))
            near = trials.space.nearest() if self.nearest and not number else None
            first = moves if number else [near] if near else []
            choices, spread = trials.space.choices(), 0 if number else SPREAD_POINTS
            parzen = TreeParzen(choices, task.rng(f"trials {number}"), first=first, spread=spread)
            trials.teach(parzen)
            while points := parzen.ask(min(self.trials_per_race, enough - trials.count)):
                entries = [trials.space.state(point) for point in points]
                if points[0] == near:
                    entries[0] = (f"nearest=True: {demos_words(entries[0][1])}", entries[0][1])
                parzen.tell(await trials.race(points, entries))
        return task.best.state

    async def _space(self, task: Task, rng: random.Random) -> Space:
        """Make the space of the declared instructions and all that is tried with them."""
        labeled = labeled_demos(task.predictors, task.train)
        own = await self._bootstrapped(task, labeled, rng)
        embedded = await task.embed(merge_pools(own, labeled))
        demos = {
            path: demo_choices(
                task.start[path],
                predictor.spec,
                labeled[path],
                own.get(path, []),
                count=self.demo_sets or _EFFORTS[self.effort],
                most=self.demos,
                bootstrapped=self.bootstrapped,
                rng=rng,
                vectors=partial(embedded, path) if embedded else None,
            )
            for path, predictor in task.predictors.items()
        }
        start = task.start
        instructions = {path: [start[path].instruction] for path in task.predictors}
        suited = tried_layouts(self.layouts, task.student, offered_layouts(task.predictors))
        layouts = [layout for layout in suited if start.map(layout=layout) != start]
        tries = self.try_constrained and can_constrain(task.predictors)
        tried = (True, False) if tries else ()
        constrained = [choice for choice in tried if start.map(constrained=choice) != start]
        return Space(start, instructions, demos, layouts, constrained)

    async def _bootstrapped(
        self, task: Task, labeled: Mapping[str, Sequence[Demo]], rng: random.Random
    ) -> dict[str, list[Demo]]:
        """Collect demonstrations from rollouts that passed: twice as many as a set has."""
        if not self.bootstrapped:
            return {}
        collector, enough = BootstrapFewShot(threshold=self.threshold), 2 * self.bootstrapped
        if self.nearest:
            k = max(1, 2 * self.demos // 3)
            embedded = await task.embed(labeled)
            teacher = with_retrieval(task.start, labeled, k=k, embedded=embedded)
            passed = await collector.passed_rollouts(task, teacher, enough=enough)
        else:
            passed = await collector.labeled_teacher_rollouts(task, rng, enough=enough)
        return bootstrapped_demos(passed, rng)

    async def _propose(
        self, task: Task, trials: Trials, count: int, data: str, rng: random.Random
    ) -> Mapping[str, list[str]]:
        """Propose instructions for each predictor, from failed runs of the best state so far."""
        if not count:
            return {}
        state = trials.best_state()
        examples = rng.sample(task.train, min(_FAILURE_RUNS, len(task.train)))
        (evaluation,) = await task.trial([state], examples)
        return {
            path: await propose_instructions(
                task,
                path,
                count,
                state=state,
                tried=trials.tried(path) or {state[path].instruction: evaluation.score},
                data=data,
                rows=evaluation.rows,
                rng=rng,
                temperature=self.temperature,
            )
            for path in task.predictors
        }

    @property
    def _instructions(self) -> int:
        return self.instructions or _EFFORTS[self.effort]

    def _trials(self, predictors: int) -> int:
        """Return the number of trials; it grows with the number of choices that a state has."""
        size = _EFFORTS[self.effort]
        choices = 2 * predictors + (self.layouts != ()) + self.try_constrained
        return self.trials or int(max(2 * choices * math.log2(size), 1.5 * size))

    def _rounds(self, predictors: int) -> list[tuple[int, int]]:
        """Return the number of questions of each round, and of trials up to its end."""
        asks, trials = self._instructions - 1, self._trials(predictors)
        rounds = max(1, min(self.proposal_rounds, asks, trials))
        return [
            (asks // rounds + (number < asks % rounds), trials * (number + 1) // rounds)
            for number in range(rounds)
        ]

    def cost(self, sizes: Sizes) -> Cost:
        rounds, asks = self._rounds(sizes.predictors), self._instructions - 1
        runs = rounds[-1][1] * sizes.val + (sizes.train if self.bootstrapped else 0)
        runs += sum(min(_FAILURE_RUNS, sizes.train) for asks, _ in rounds if asks)
        pools = 1 + (self.nearest and self.bootstrapped > 0)
        asked = sizes.predictors * asks + SUMMARY_ASKS if asks else 0
        return Cost(runs, asks=asked, pools=pools, layouts=self.layouts or ())
