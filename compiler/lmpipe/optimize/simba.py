"""`SIMBA`: ascent on mini-batches, where runs of one example come out differently."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from lmpipe.errors import RecipeError
from lmpipe.example import Example
from lmpipe.optimize.demos import bootstrapped_demos, distinct
from lmpipe.optimize.events import Rollout
from lmpipe.optimize.optimizer import Cost, Sizes
from lmpipe.optimize.proposals import clean_instruction, describe_rows, with_instruction
from lmpipe.optimize.task import Task
from lmpipe.outcome import Row
from lmpipe.signature import Input, Output, Signature
from lmpipe.state import ProgramState


class WriteAdvice(Signature):
    """Say in one or two sentences what one step of a program should do from now on.

    The same input went well once and badly once. Find out what made the difference, and put it as
    general advice for inputs of this kind, such as "If …, then …". Do not repeat the input, and
    give no single answer away.
    """

    instruction: str = Input(desc="what the step is told now")
    good: str = Input(desc="the run that went well")
    bad: str = Input(desc="the run that went badly")
    advice: str = Output(desc="the advice, one or two sentences")


@dataclass(frozen=True)
class _Contrast:
    """The best and the worst run of one example."""

    good: Row
    bad: Row

    @property
    def spread(self) -> float:
        return self.good.score.value - self.bad.score.value


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

    Cost: for each step `batch * (samples + new + 1)` runs of the program and `new` questions to
    the proposer for each predictor; `finalists` runs for each validation example.

    Args:
        steps: mini-batches.
        batch: training examples in one.
        samples: runs of each of its examples.
        new: states to make in a step.
        finalists: states that race in the end.
        demos: the most demonstrations that a predictor shows.
        threshold: the score from which a run is a demonstration.
        heat: how evenly states are drawn; at 0.2, a state that is 20 points better is drawn e
            times as often.

    Raises:
        RecipeError: if a number is out of range.
    """

    steps: int = 4
    batch: int = 12
    samples: int = 3
    new: int = 3
    finalists: int = 4
    demos: int = 6
    threshold: float = 1.0
    heat: float = 0.2
    name: str = "simba"

    def __post_init__(self) -> None:
        counts = (self.steps, self.batch, self.new, self.finalists, self.demos)
        if min(counts) < 1 or self.samples < 2 or self.heat <= 0:
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
            made = await self._improve(task, pool, contrasts[: self.new], rng)
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
    ) -> list[_Contrast]:
        """Best and worst run of the examples that teach something; what differs most first."""
        runs: list[list[Row]] = [[] for _ in examples]
        for sample in range(self.samples):
            state = self._draw(pool, rng)
            # Every sample of the search is another one: numbers go on from step to step.
            number = step * self.samples + sample
            (evaluation,) = await task.trial([state], examples, sample=number)
            for rows, row in zip(runs, evaluation.rows, strict=True):
                rows.append(row)
        found = [_Contrast(max(rows, key=_value), min(rows, key=_value)) for rows in runs]
        telling = [item for item in found if item.spread > 0 or self._passes(item)]
        return sorted(telling, key=lambda item: (-item.spread, -_value(item.good)))

    def _passes(self, contrast: _Contrast) -> bool:
        return contrast.good.failure is None and _value(contrast.good) >= self.threshold

    async def _improve(
        self,
        task: Task,
        pool: Mapping[ProgramState, Sequence[float]],
        contrasts: Sequence[_Contrast],
        rng: random.Random,
    ) -> list[ProgramState]:
        """A new state from each contrast; one whose advice is dropped gives none."""
        made: list[ProgramState] = []
        for contrast in contrasts:
            base = self._draw(pool, rng)
            # Runs that came out alike have nothing to say, but those that pass can be shown.
            showing = self._passes(contrast) and (contrast.spread == 0 or rng.random() < 0.5)
            made.append(
                self._show(task, base, contrast.good, rng)
                if showing
                else await self._advise(task, base, contrast)
            )
        return [state for state in dict.fromkeys(made) if state not in pool]

    def _show(self, task: Task, base: ProgramState, good: Row, rng: random.Random) -> ProgramState:
        """The base with the good run as one demonstration more, in place of the oldest if full."""
        run = bootstrapped_demos([Rollout(good, 0, passed=True)], rng)
        state = base
        for path, demos in run.items():
            if path in task.predictors:
                shown = distinct([*demos, *reversed(base[path].demos)])[: self.demos]
                state = state.update({path: base[path].replace(demos=tuple(reversed(shown)))})
        return state

    async def _advise(self, task: Task, base: ProgramState, contrast: _Contrast) -> ProgramState:
        """The base with advice added to the instruction of every predictor that was called."""
        called = [path for path in task.predictors if contrast.bad.trace.of(path)]
        answers = await task.ask_all(
            WriteAdvice,
            [
                {
                    "instruction": base[path].instruction,
                    "good": describe_rows([contrast.good], path),
                    "bad": describe_rows([contrast.bad], path),
                }
                for path in called
            ],
        )
        state = base
        for path, answer in zip(called, answers, strict=True):
            if answer and (advice := clean_instruction(answer.advice)):
                told = base[path].instruction
                if advice not in told:
                    state = with_instruction(state, path, clean_instruction(f"{told}\n{advice}"))
        return state

    def _draw(
        self, pool: Mapping[ProgramState, Sequence[float]], rng: random.Random
    ) -> ProgramState:
        weights = [math.exp(_mean(scores) / self.heat) for scores in pool.values()]
        return rng.choices(list(pool), weights)[0]

    def cost(self, sizes: Sizes) -> Cost:
        runs = self.steps * min(self.batch, sizes.train) * (self.samples + self.new + 1)
        asks = self.steps * self.new * sizes.predictors
        return Cost(runs + self.finalists * sizes.val, asks=asks)

    def settings(self) -> dict[str, Any]:
        return asdict(self)


def _mean(scores: Sequence[float]) -> float:
    return fmean(scores) if scores else 0.0


def _value(row: Row) -> float:
    return row.score.value
