"""`HeldOut`: what is known of states on the validation examples while few of them were run."""

from __future__ import annotations

import random
from collections.abc import Sequence
from statistics import fmean

from lmpipe.evaluation.results import Row
from lmpipe.foundation.statistics import paired_interval
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.shared.paired_test import Pair
from lmpipe.state.program_state import ProgramState

# The first block: a sixth of the examples, but at least 8.
_BLOCKS, _SMALLEST_BLOCK = 6, 8
# A state's own scores count against so many of what was expected of the state before.
_PARENT_WEIGHT = 6
# The confidence of the interval: an equally good state is called worse with a probability of 0.2.
_CONFIDENCE = 0.6


class HeldOut:
    """Runs states on a first block of the validation examples, and expects their scores on all.

    A lineage is a sequence of states, each made from the one before; its first state was run on
    all validation examples.

    Attributes:
        block: the positions of the first block.
        runs: the number of runs so far, with one on all examples before the search.
    """

    def __init__(self, task: Task, rng: random.Random) -> None:
        size = len(task.val)
        block = min(size, max(_SMALLEST_BLOCK, size // _BLOCKS))
        self.block = tuple(sorted(rng.sample(range(size), block)))
        self.runs = size
        self._task = task

    def scores(self, state: ProgramState) -> dict[int, float]:
        """Return the scores of a state, by the position of their examples."""
        return {index: row.score.value for index, row in self._task.known(state).items()}

    def missing(self, state: ProgramState) -> int:
        """Return on how many examples a state was not run."""
        return len(self._task.val) - len(self._task.known(state))

    def inherited(self, lineage: Sequence[ProgramState]) -> dict[int, float]:
        """Return the scores of the last state, or of the nearest one before it."""
        found: dict[int, float] = {}
        for state in lineage:
            found |= self.scores(state)
        return found

    def expected(self, lineage: Sequence[ProgramState]) -> float:
        """Expect the last state's score on all examples.

        It is that of the last state that was run on all, and the lead over it on those that both
        were run on; this counts against what was expected of the state before.
        """
        whole: dict[int, float] = {}
        expected = 0.0
        for state in lineage:
            own = self.scores(state)
            if not whole or len(own) == len(self._task.val):
                whole, expected = own, fmean(own.values())
            else:
                leads = [score - whole[index] for index, score in own.items() if index in whole]
                found = len(leads) * fmean(whole.values()) + sum(leads)
                expected = (found + _PARENT_WEIGHT * expected) / (len(leads) + _PARENT_WEIGHT)
        return expected

    async def run_block(self, state: ProgramState) -> list[Row]:
        """Run a state on the first block."""
        self.runs += sum(index not in self._task.known(state) for index in self.block)
        return await self._task.peek([(state, index) for index in self.block])

    async def compare(self, before: ProgramState, after: ProgramState) -> list[Pair]:
        """Run a state on the first block, and return its scores beside those of another one."""
        rows, known = await self.run_block(after), self.scores(before)
        return [(known[row.index], row.score.value) for row in rows if row.index in known]

    async def race(self, name: str, state: ProgramState) -> bool:
        """Race a state against the best on all examples; return whether it is the best now."""
        missing = self.missing(state)
        await self._task.race([(name, state)])
        self.runs += missing - self.missing(state)
        return self._task.best.state == state


def is_behind(pairs: Sequence[Pair], confidence: float = _CONFIDENCE) -> bool:
    """Say whether the whole interval of the change from scores before to those after is below 0."""
    apart = [after - before for before, after in pairs]
    return bool(apart) and paired_interval(apart, confidence).high < 0
