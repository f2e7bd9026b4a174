"""`SIMBA`: ascent on mini-batches, learning from examples whose runs differ in score."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from lmpipe.data.example import Example
from lmpipe.evaluation.results import Row
from lmpipe.optimize.engine.optimizer import Cost, DataclassSettings, Sizes, check_settings
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.shared.candidate_names import changes_words
from lmpipe.optimize.shared.contrast import Contrast, add_advice, add_demonstration
from lmpipe.optimize.shared.doubling import looks, looks_before
from lmpipe.state.program_state import ProgramState


@dataclass(frozen=True, kw_only=True)
class SIMBA(DataclassSettings):
    """Learn from examples with a good and a bad run, by demonstrations and advice.

    Each step runs states of a pool on a mini-batch of training examples, with several samples of
    each, and a state of its own for each sample. The examples whose scores differ most each make a
    new state (of those with equal scores, the ones that failed different numbers of checks): either
    the good run becomes its newest demonstration, or the proposer compares the two runs, and its
    advice is added to the instruction of each predictor. A full set of demonstrations first loses
    a random one or more. If the runs of an example are equal, those that pass become
    demonstrations, and those that do not give advice to the state that they are of. New states
    and the start are run on a second mini-batch and join the pool. States are drawn from the best
    of the pool and the start, by the softmax of their lead over the start. The best one races on
    validation after steps 1, 2, 4, 8 and so on, and the best few at the end.

    Source: DSPy's SIMBA (stochastic introspective mini-batch ascent), which has no paper; advice
    from contrasting runs is that of Reflexion (arXiv 2303.11366, section 3). Deviations: new states
    are scored on other examples than they learned from, as a lead over the start; only runs that
    pass become demonstrations; a run that has no better one to compare gives advice too; each
    predictor has a question of its own; the result is chosen on validation, from the best states
    of the pool and not from the best ones of each step.

    Cost: for each step, `batch * (samples + candidates_per_step + 1)` runs of the program and
    `candidates_per_step` questions to the proposer for each predictor; `finalists` runs for each
    validation example, and one more for each doubling of the steps.

    Args:
        steps: the number of mini-batches, 1 or more.
        batch: the number of training examples in a mini-batch, 1 or more; of fewer than twice as
            many examples, half.
        samples: the number of runs of each example, 2 or more.
        candidates_per_step: the number of states to make in a step, and of the best that states
            are drawn from, 1 or more.
        finalists: the number of states in the final race, 1 or more.
        demos: the maximum number of demonstrations for each predictor, 1 or more.
        threshold: the score from which a run becomes a demonstration, 0 to 1.
        sampling_temperature: how evenly states are drawn, above 0; at 0.2, a state that is 20
            points better is drawn e times as often.

    Raises:
        RecipeError: if a number is out of range.
    """

    steps: int = 6
    batch: int = 8
    samples: int = 3
    candidates_per_step: int = 6
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
        pool = _Pool(task.start, self.candidates_per_step, self.sampling_temperature, rng)
        size = self._batch_size(len(task.train))
        waiting: list[Example] = []
        for step in range(1, self.steps + 1):
            if len(waiting) < 2 * size:
                waiting = rng.sample(task.train, len(task.train))
            batch, others, waiting = waiting[:size], waiting[size : 2 * size], waiting[2 * size :]
            found = await self._compared(task, pool, batch, step, rng)
            made = await self._improve(task, pool, found[: self.candidates_per_step], rng)
            # On other examples than it learned from, which would flatter a state.
            start, *scored = await task.trial([task.start, *made], others or batch)
            for state, evaluation in zip(made, scored, strict=True):
                pool.leads[state] = evaluation.score - start.score
            if step == self.steps or looks(step):
                await self._validate(task, pool, self.finalists if step == self.steps else 1)
        return task.best.state

    async def _compared(
        self,
        task: Task,
        pool: _Pool,
        examples: Sequence[Example],
        step: int,
        rng: random.Random,
    ) -> list[_Compared]:
        """Return what can be learned from each example, the most different runs first."""
        runs: list[list[tuple[ProgramState, Row]]] = [[] for _ in examples]
        for sample in range(self.samples):
            pairs = [(pool.draw(), example) for example in examples]
            # Sample numbers continue from step to step, so that no sample comes twice.
            number = (step - 1) * self.samples + sample
            rows = await task.trials(pairs, sample=number)
            for of, (state, _), row in zip(runs, pairs, rows, strict=True):
                of.append((state, row))
        found = sorted(map(_Compared.of, runs), key=lambda one: one.order)
        equal = [one for one in found if not one.contrast.differs]
        failed = [one for one in equal if not self._passes(one.contrast.good)]
        passed = [one for one in equal if self._passes(one.contrast.good)]
        in_turn = [one for both in zip_longest(failed, passed) for one in both if one]
        return [one for one in found if one.contrast.differs] + in_turn

    async def _improve(
        self, task: Task, pool: _Pool, compared: Sequence[_Compared], rng: random.Random
    ) -> list[ProgramState]:
        """Make new states from the runs of examples; advice that cannot be parsed makes none."""
        made: list[ProgramState] = []
        for contrast, own in ((one.contrast, one.state) for one in compared):
            base = _with_fewer_demos(pool.draw(), self.demos, rng)
            if self._passes(contrast.good) and (not contrast.spread or rng.random() < 0.5):
                made.append(add_demonstration(task, base, contrast.good, rng, most=self.demos))
            else:
                made.append(await add_advice(task, base if contrast.differs else own, contrast))
        return [state for state in dict.fromkeys(made) if state not in pool.leads]

    def _passes(self, row: Row) -> bool:
        return row.failure is None and row.score.value >= self.threshold

    async def _validate(self, task: Task, pool: _Pool, count: int) -> None:
        await task.race(
            [
                (f"ascent {len(pool.leads)}.{number}: {changes_words(task.start, state)}", state)
                for number, state in enumerate(pool.ranked()[:count], start=1)
            ]
        )

    def _batch_size(self, train: int) -> int:
        """The size of a mini-batch, which leaves other examples for the second one."""
        return min(self.batch, (train + 1) // 2)

    def cost(self, sizes: Sizes) -> Cost:
        batch, made = self._batch_size(sizes.train), self.candidates_per_step
        validations = self.finalists + looks_before(self.steps)
        runs = self.steps * batch * (self.samples + made + 1) + validations * sizes.val
        return Cost(runs, asks=self.steps * made * sizes.predictors)


class _Pool:
    """The states so far, with their leads over the start on the mini-batches of both.

    Args:
        start: the state to improve; its lead is 0.
        top: the number of the best states that are drawn from, besides the start.
        temperature: how evenly states are drawn.
        rng: draws states.
    """

    def __init__(
        self, start: ProgramState, top: int, temperature: float, rng: random.Random
    ) -> None:
        self.leads = {start: 0.0}
        self._start, self._top, self._temperature, self._rng = start, top, temperature, rng

    def ranked(self) -> list[ProgramState]:
        """Return all states, the best first; of equal ones, the newest."""
        newest_first = list(self.leads)[::-1]
        return sorted(newest_first, key=lambda state: -self.leads[state])

    def draw(self) -> ProgramState:
        """Draw one of the best states or the start, by the softmax of their leads."""
        states = list(dict.fromkeys([*self.ranked()[: self._top], self._start]))
        # Below the best lead, so that no temperature is too low for a float.
        most = max(self.leads[state] for state in states)
        weights = [math.exp((self.leads[state] - most) / self._temperature) for state in states]
        return self._rng.choices(states, weights)[0]


@dataclass(frozen=True)
class _Compared:
    """The best and the worst run of an example, and the state that the worst one is of."""

    contrast: Contrast
    state: ProgramState

    @staticmethod
    def of(runs: Sequence[tuple[ProgramState, Row]]) -> _Compared:
        contrast = Contrast.of([row for _, row in runs])
        return _Compared(contrast, next(state for state, row in runs if row is contrast.bad))

    @property
    def order(self) -> tuple[float, ...]:
        """A sort key: runs that differ first, by how much; then by the best score."""
        found = self.contrast
        return -found.spread, -float(found.differs), -found.good.score.value, -found.lead


def _with_fewer_demos(state: ProgramState, most: int, rng: random.Random) -> ProgramState:
    """Drop some demonstrations at random, more of many; of a full set, at least one."""
    count = max(len(learned.demos) for learned in state.predictors.values())
    drop = min(count, max(_poisson(count / most, rng), int(count >= most)))
    dropped = {rng.randrange(count) for _ in range(drop)}
    return state.update(
        {
            path: learned.replace(
                demos=tuple(demo for n, demo in enumerate(learned.demos) if n not in dropped)
            )
            for path, learned in state.predictors.items()
            if dropped
        }
    )


def _poisson(mean: float, rng: random.Random) -> int:
    """Draw from the Poisson distribution."""
    limit, product, count = math.exp(-mean), rng.random(), 0
    while product > limit:
        product, count = product * rng.random(), count + 1
    return count
