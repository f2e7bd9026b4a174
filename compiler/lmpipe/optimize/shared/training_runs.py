"""`TrainingRuns`: what states did with training examples, each run once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lmpipe.evaluation.results import Row
from lmpipe.optimize.engine.task import Task
from lmpipe.state.program_state import ProgramState


class TrainingRuns:
    """Runs states on training examples, and keeps their rows.

    Attributes:
        runs: the number of runs so far.
    """

    def __init__(self, task: Task) -> None:
        self.runs = 0
        self._task = task
        self._rows: dict[ProgramState, dict[int, Row]] = {}

    def known(self, state: ProgramState) -> Mapping[int, Row]:
        """Return the rows of a state so far, by the position of their examples."""
        return self._rows.get(state, {})

    @property
    def states(self) -> list[ProgramState]:
        """The states that were run, in the order of their first runs."""
        return list(self._rows)

    def latest(self, states: Sequence[ProgramState], index: int) -> Row | None:
        """Return the row on an example of the last of some states that was run on it."""
        rows = (self.known(state).get(index) for state in reversed(states))
        return next((row for row in rows if row is not None), None)

    async def rows(self, pairs: Sequence[tuple[ProgramState, int]]) -> list[Row]:
        """Return the rows of states on examples; those that are not known are run at once."""
        new = [pair for pair in dict.fromkeys(pairs) if pair[1] not in self.known(pair[0])]
        found = await self._task.trials([(state, self._task.train[i]) for state, i in new])
        for (state, index), row in zip(new, found, strict=True):
            self._rows.setdefault(state, {})[index] = row
        self.runs += len(new)
        return [self._rows[state][index] for state, index in pairs]
