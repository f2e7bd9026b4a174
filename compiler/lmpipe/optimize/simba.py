"""`SIMBA`: ascent on mini-batches, learning from examples whose runs differ in score."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from lmpipe.data.example import Example
from lmpipe.evaluation.results import Row
from lmpipe.optimize.engine.optimizer import Cost, DataclassSettings, Sizes, check_settings
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.shared.candidate_names import changes_words
from lmpipe.optimize.shared.contrast import Contrast, add_advice, add_demonstration
from lmpipe.state.program_state import ProgramState


@dataclass(frozen=True, kw_only=True)
class SIMBA(DataclassSettings):
    """Learn from examples with a good and a bad run, by demonstrations and advice.

    Each step runs states of a pool on a mini-batch of training examples, with several samples of
    each. The examples whose scores differ most each make a new state (of those with equal scores,
    the ones that failed different numbers of checks): either the good run becomes
    its newest demonstration, or the proposer compares the two runs, and its advice is added to the
    instruction of each predictor. If no scores differ, runs that pass become demonstrations. New
    states and the start are run on a second mini-batch, of other examples, and join the pool.
    States are drawn from the pool by the softmax of their lead over the start. Finally, the best
    of the pool race on validation.

    Source: DSPy's SIMBA (stochastic introspective mini-batch ascent), which has no paper; advice
    from contrasting runs is that of Reflexion (arXiv 2303.11366, section 3).

    Cost: for each step, `batch * (samples + candidates_per_step + 1)` runs of the program and
    `candidates_per_step` questions to the proposer for each predictor; `finalists` runs for each
    validation example.

    Args:
        steps: the number of mini-batches, 1 or more.
        batch: the number of training examples in a mini-batch, 1 or more; of fewer than twice as
            many examples, half.
        samples: the number of runs of each example, 2 or more.
        candidates_per_step: the number of states to make in a step, 1 or more.
        finalists: the number of states in the final race, 1 or more.
        demos: the maximum number of demonstrations for each predictor, 1 or more.
        threshold: the score from which a run becomes a demonstration, 0 to 1.
        sampling_temperature: how evenly states are drawn, above 0; at 0.2, a state that is 20
            points better is drawn e times as often.

    Raises:
        RecipeError: if a number is out of range.
    """

    steps: int = 4
    batch: int = 12
    samples: int = 3
    candidates_per_step: int = 3
    finalists: int = 4
    demos: int = 6
    threshold: float = 1.0
    sampling_temperature: float = 0.2
    name: str = "simba"

    def __post_init__(self) -> None:
        counts = ("steps", "batch", "candidates_per_step", "finalists", "demos")
        check_settings(self, *counts, minimum=1, integer=True)
        check_settings(self, "samples", minimum=2, integer=True)
        check_settings(self, "threshold", minimum=0, maximum=1)
        check_settings(self, "sampling_temperature", above=0)

    async def optimize(self, task: Task) -> ProgramState:
        rng = task.rng("ascent")
        # The leads of each state over the start, in score, on the mini-batches that both ran on.
        pool: dict[ProgramState, list[float]] = {task.start: [0.0]}
        size = self._batch_size(len(task.train))
        for step in range(self.steps):
            drawn = rng.sample(task.train, min(2 * size, len(task.train)))
            contrasts = await self._contrasts(task, pool, drawn[:size], step, rng)
            made = await self._improve(task, pool, contrasts[: self.candidates_per_step], rng)
            # On other examples than it learned from, which would flatter a state.
            start, *scored = await task.trial([task.start, *made], drawn[size:] or drawn)
            for state, evaluation in zip(made, scored, strict=True):
                pool.setdefault(state, []).append(evaluation.score - start.score)
        ranked = sorted(pool, key=lambda state: -fmean(pool[state]))
        await task.race(
            [
                (f"ascent {number}: {changes_words(task.start, state)}", state)
                for number, state in enumerate(ranked[: self.finalists], start=1)
            ]
        )
        return task.best.state

    async def _contrasts(
        self,
        task: Task,
        pool: Mapping[ProgramState, Sequence[float]],
        examples: Sequence[Example],
        step: int,
        rng: random.Random,
    ) -> list[Contrast]:
        """Return the best and worst runs of the informative examples, the most different first."""
        runs: list[list[Row]] = [[] for _ in examples]
        for sample in range(self.samples):
            state = self._draw(pool, rng)
            # Sample numbers continue from step to step, so that no sample comes twice.
            number = step * self.samples + sample
            (evaluation,) = await task.trial([state], examples, sample=number)
            for rows, row in zip(runs, evaluation.rows, strict=True):
                rows.append(row)
        found = [Contrast.of(rows) for rows in runs]
        informative = [item for item in found if item.differs or self._passes(item)]
        return sorted(informative, key=lambda item: (-item.spread, -_value(item.good)))

    def _passes(self, contrast: Contrast) -> bool:
        return contrast.good.failure is None and _value(contrast.good) >= self.threshold

    async def _improve(
        self,
        task: Task,
        pool: Mapping[ProgramState, Sequence[float]],
        contrasts: Sequence[Contrast],
        rng: random.Random,
    ) -> list[ProgramState]:
        """Make a new state from each contrast; one whose advice cannot be parsed makes none."""
        made: list[ProgramState] = []
        for contrast in contrasts:
            base = self._draw(pool, rng)
            # Runs with equal scores give no advice, but if they pass they can be demonstrations.
            show = self._passes(contrast) and (contrast.spread == 0 or rng.random() < 0.5)
            made.append(
                add_demonstration(task, base, contrast.good, rng, most=self.demos)
                if show
                else await add_advice(task, base, contrast)
            )
        return [state for state in dict.fromkeys(made) if state not in pool]

    def _draw(
        self, pool: Mapping[ProgramState, Sequence[float]], rng: random.Random
    ) -> ProgramState:
        weights = [math.exp(fmean(scores) / self.sampling_temperature) for scores in pool.values()]
        return rng.choices(list(pool), weights)[0]

    def _batch_size(self, train: int) -> int:
        """The size of a mini-batch, which leaves other examples for the second one."""
        return min(self.batch, (train + 1) // 2)

    def cost(self, sizes: Sizes) -> Cost:
        batch, made = self._batch_size(sizes.train), self.candidates_per_step
        runs = self.steps * batch * (self.samples + made + 1) + self.finalists * sizes.val
        return Cost(runs, asks=self.steps * made * sizes.predictors)


def _value(row: Row) -> float:
    return row.score.value
