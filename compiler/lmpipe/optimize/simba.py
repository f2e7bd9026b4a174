"""`SIMBA`: ascent on mini-batches, where runs of one example come out differently."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from lmpipe.data.example import Example
from lmpipe.errors import RecipeError
from lmpipe.evaluation.results import Row
from lmpipe.optimize.engine.optimizer import Cost, Sizes
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.shared.contrast import Contrast, advised, shown
from lmpipe.state.program_state import ProgramState


@dataclass(frozen=True, kw_only=True)
class SIMBA:
    """Learn from examples that come out well once and badly once: by demonstration, or by advice.

    Each step runs states of a pool on a mini-batch of training examples, several samples of each.
    The examples whose scores differ most each make a new state: either the good run is appended
    as a demonstration, or the proposer compares the two runs and its advice is added to the
    instructions, for each predictor its own; where none differs, runs that pass are
    demonstrations. New states and the start are run on another mini-batch, and join the pool,
    from which states are drawn by the softmax of what they are ahead of the start. In the end the
    best of the pool race on validation.

    Source: DSPy's SIMBA (stochastic introspective mini-batch ascent), which has no paper; advice
    from contrasting runs is that of Reflexion (arXiv 2303.11366, section 3).

    Cost: for each step `batch * (samples + candidates_per_step + 1)` runs of the program and
    `candidates_per_step` questions to the proposer for each predictor; `finalists` runs for each
    validation example.

    Args:
        steps: mini-batches.
        batch: training examples in one.
        samples: runs of each of its examples.
        candidates_per_step: states to make in a step.
        finalists: states that race in the end.
        demos: the most demonstrations that a predictor shows.
        threshold: the score from which a run is a demonstration.
        sampling_temperature: how evenly states are drawn; at 0.2, a state that is 20 points better
            is drawn e times as often.

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
        counts = (self.steps, self.batch, self.candidates_per_step, self.finalists, self.demos)
        if min(counts) < 1 or self.samples < 2 or self.sampling_temperature <= 0:
            raise RecipeError(
                f"{self}: needs 2 samples or more, 1 or more of all else, and a heat above 0"
            )

    async def optimize(self, task: Task) -> ProgramState:
        rng = task.rng("ascent")
        # What each state is ahead of the start, in score, on the mini-batches that both met.
        pool: dict[ProgramState, list[float]] = {task.start: [0.0]}
        size = min(self.batch, len(task.train))
        for step in range(self.steps):
            contrasts = await self._contrasts(task, pool, rng.sample(task.train, size), step, rng)
            made = await self._improve(task, pool, contrasts[: self.candidates_per_step], rng)
            # On another draw than it learned from: its own example would flatter a state.
            start, *scored = await task.trial([task.start, *made], rng.sample(task.train, size))
            for state, evaluation in zip(made, scored, strict=True):
                pool.setdefault(state, []).append(evaluation.score - start.score)
        ranked = sorted(pool, key=lambda state: -_mean(pool[state]))
        await task.race(
            [(f"ascent {n}", state) for n, state in enumerate(ranked[: self.finalists], start=1)]
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
        """Best and worst run of the examples that teach something; what differs most first."""
        runs: list[list[Row]] = [[] for _ in examples]
        for sample in range(self.samples):
            state = self._draw(pool, rng)
            # Every sample of the search is another one: numbers go on from step to step.
            number = step * self.samples + sample
            (evaluation,) = await task.trial([state], examples, sample=number)
            for rows, row in zip(runs, evaluation.rows, strict=True):
                rows.append(row)
        found = [Contrast(max(rows, key=_value), min(rows, key=_value)) for rows in runs]
        telling = [item for item in found if item.spread > 0 or self._passes(item)]
        return sorted(telling, key=lambda item: (-item.spread, -_value(item.good)))

    def _passes(self, contrast: Contrast) -> bool:
        return contrast.good.failure is None and _value(contrast.good) >= self.threshold

    async def _improve(
        self,
        task: Task,
        pool: Mapping[ProgramState, Sequence[float]],
        contrasts: Sequence[Contrast],
        rng: random.Random,
    ) -> list[ProgramState]:
        """A new state from each contrast; one whose advice is dropped gives none."""
        made: list[ProgramState] = []
        for contrast in contrasts:
            base = self._draw(pool, rng)
            # Runs that came out alike have nothing to say, but those that pass can be shown.
            showing = self._passes(contrast) and (contrast.spread == 0 or rng.random() < 0.5)
            made.append(
                shown(task, base, contrast.good, rng, most=self.demos)
                if showing
                else await advised(task, base, contrast)
            )
        return [state for state in dict.fromkeys(made) if state not in pool]

    def _draw(
        self, pool: Mapping[ProgramState, Sequence[float]], rng: random.Random
    ) -> ProgramState:
        weights = [math.exp(_mean(scores) / self.sampling_temperature) for scores in pool.values()]
        return rng.choices(list(pool), weights)[0]

    def cost(self, sizes: Sizes) -> Cost:
        runs = (
            self.steps
            * min(self.batch, sizes.train)
            * (self.samples + self.candidates_per_step + 1)
        )
        asks = self.steps * self.candidates_per_step * sizes.predictors
        return Cost(runs + self.finalists * sizes.val, asks=asks)

    def settings(self) -> dict[str, Any]:
        return asdict(self)


def _mean(scores: Sequence[float]) -> float:
    return fmean(scores) if scores else 0.0


def _value(row: Row) -> float:
    return row.score.value
