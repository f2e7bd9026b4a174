"""The scores of COPRO: instructions on training examples, halved until the best is left."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from lmpipe.evaluation.results import Row
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.shared.proposer_text import describe_tried, with_instruction
from lmpipe.optimize.shared.training_runs import TrainingRuns
from lmpipe.state.program_state import ProgramState


@dataclass
class TrainingScores:
    """Scores states on samples of the training examples; no state is run twice on an example.

    Args:
        size: the number of examples in a sample.
        rng: draws the samples.

    Attributes:
        sample: the positions of the examples of the present sample.
        best: the state with the best score.
    """

    task: Task
    size: int
    rng: random.Random
    best: ProgramState
    sample: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.size = min(self.size, len(self.task.train))
        self._runs = TrainingRuns(self.task)

    async def draw(self) -> list[Row]:
        """Draw another sample; return the rows of the best state on it that score below 1."""
        self.sample = self.rng.sample(range(len(self.task.train)), self.size)
        rows = await self._run([self.best], self.sample)
        return [row for row in rows if row.score.value < 1]

    async def better(self, states: Sequence[ProgramState]) -> list[ProgramState]:
        """Run states on the first part of the sample; return those that do better than the best."""
        first = self.sample[: _parts(self.size)[0]]
        await self._run(states, first)
        return [one for one in states if self._mean(one, first) > self._mean(self.best, first)]

    async def climb(self, states: Sequence[ProgramState]) -> None:
        """Move to the best of some states, unless the best so far is better.

        They are run on growing parts of the sample, each time without the worse half. Of equal
        states, a new one becomes the best: a search that waits for a gain never leaves a plateau.
        """
        left = list(states)
        for part in _parts(self.size):
            await self._run(left, self.sample[:part])
            ranked = sorted(left, key=lambda state: -self._mean(state, self.sample[:part]))
            left = ranked[: _half(len(ranked))]
        if left and self._mean(left[0], self.sample) >= self._mean(self.best, self.sample):
            self.best = left[0]

    def estimate(self, state: ProgramState) -> float | None:
        """Estimate a state's score; None if it was not run.

        It is the best one's score and the lead over it on the examples that both were run on, or
        the state's own mean if there are few of these.
        """
        if not (rows := self._runs.known(state)):
            return None
        best = self._runs.known(self.best)
        shared = [index for index in best if index in rows]
        if len(shared) < _parts(self.size)[0]:
            return self._mean(state, list(rows))
        lead = self._mean(state, shared) - self._mean(self.best, shared)
        return min(1.0, max(0.0, self._mean(self.best, list(best)) + lead))

    def leaders(self, count: int) -> list[ProgramState]:
        """Return the best, and the next best that were run on a whole sample, newer ones first."""
        found = {self.best: 2.0}
        for state in reversed(self._runs.states):
            whole = len(self._runs.known(state)) >= self.size
            if whole and (score := self.estimate(state)) is not None:
                found.setdefault(state, score)
        return sorted(found, key=lambda state: -found[state])[:count]

    async def _run(self, states: Sequence[ProgramState], positions: Sequence[int]) -> list[Row]:
        return await self._runs.rows([(state, index) for state in states for index in positions])

    def _mean(self, state: ProgramState, positions: Sequence[int]) -> float:
        rows = self._runs.known(state)
        return fmean(rows[index].score.value for index in positions) if positions else 0.0


@dataclass
class Tried:
    """The instructions tried for one predictor, with the scores that they had last.

    A score holds beside the instructions that the other predictors have in the best state.
    """

    path: str
    scores: dict[str, float]

    def score(self, scores: TrainingScores, texts: Iterable[str]) -> dict[str, float]:
        """Score instructions beside the present others; keep and return what is known."""
        states = {text: with_instruction(scores.best, self.path, text) for text in texts}
        found = {text: scores.estimate(state) for text, state in states.items()}
        known = {text: score for text, score in found.items() if score is not None}
        self.scores.update(known)
        return known

    def unknown(self, scores: TrainingScores, most: int) -> list[ProgramState]:
        """Return states of up to `most` good ones that were not run beside the present others."""
        ranked = sorted(self.scores, key=lambda text: self.scores[text])
        states = [with_instruction(scores.best, self.path, text) for text in ranked]
        unknown = [state for state in states if scores.estimate(state) is None]
        return unknown[-most:] if most else []

    def text(self, scores: TrainingScores, most: int) -> str:
        """Write up to `most` of them with their scores, that of the best state last."""
        known = self.score(scores, self.scores)
        own = scores.best[self.path].instruction
        ranked = sorted(known, key=lambda text: (text == own, known[text]))
        return describe_tried({text: known[text] for text in ranked[-most:]})


def climbing_runs(states: int, size: int) -> int:
    """Return the maximum number of runs of `TrainingScores.climb` with these many states."""
    runs = met = 0
    for part in _parts(size):
        runs, met, states = runs + states * (part - met), part, _half(states)
    return runs


def _parts(size: int) -> list[int]:
    """Return the growing parts of a sample: a quarter, a half, all."""
    return sorted({-(-size // 4), -(-size // 2), size})


def _half(count: int) -> int:
    return (count + 1) // 2
