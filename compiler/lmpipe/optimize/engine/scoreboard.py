"""`Scoreboard`: the validation rows of a compile, its candidates, and the best of them."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from lmpipe.evaluation.results import Evaluation, Row
from lmpipe.optimize.engine.events import Candidate, Watcher
from lmpipe.optimize.engine.objectives import Objectives
from lmpipe.state.program_state import ProgramState


class Scoreboard:
    """Validation rows by state, and the candidates made of them, reported to the watcher.

    Candidates are compared by their weighted scores, which are their scores if there are no
    objectives.
    """

    def __init__(self, size: int, watcher: Watcher, objectives: Objectives | None = None) -> None:
        self.candidates: list[Candidate] = []
        self.best: Candidate | None = None
        self._size = size
        self._watcher = watcher
        self._objectives = objectives
        self._rows: dict[str, dict[int, Row]] = {}
        self._latest: dict[str, Candidate] = {}

    def add_row(self, state: ProgramState, row: Row) -> None:
        """Keep a row; `row.index` is the example's position among the validation examples."""
        self._rows.setdefault(state.hash, {})[row.index] = row

    def has(self, state: ProgramState, index: int) -> bool:
        """Whether a state was run on an example."""
        return index in self._rows.get(state.hash, {})

    def rows(self, state: ProgramState, indices: Sequence[int]) -> list[Row]:
        """Return the rows of a state on examples that it was run on."""
        rows = self._rows.get(state.hash, {})
        return [rows[index] for index in indices]

    def weighted_scores(self, state: ProgramState, indices: Sequence[int]) -> list[float]:
        """Return the weighted scores of a state on examples that it was run on."""
        return [self._weighted(row) for row in self.rows(state, indices)]

    def _weighted(self, row: Row) -> float:
        return row.score.value if self._objectives is None else self._objectives.weighted_score(row)

    def trim(self, states: Sequence[ProgramState], indices: Sequence[int]) -> None:
        """Forget the rows of these states on all other examples."""
        for state in states:
            rows = self._rows[state.hash]
            self._rows[state.hash] = {i: row for i, row in rows.items() if i in set(indices)}

    def known(self) -> list[dict[int, float]]:
        """Return the scores of each state so far, by example."""
        return [
            {index: row.score.value for index, row in rows.items()} for rows in self._rows.values()
        ]

    def candidate(self, state: ProgramState) -> Candidate | None:
        """Return the candidate of a state, or None if it was not scored."""
        return self._latest.get(state.hash)

    def record(self, name: str, state: ProgramState, *, stopped: bool = False) -> Candidate:
        """Make a state with its rows a candidate; it is the best if it is complete and better.

        A state that was recorded before and has no new rows stays the same candidate. `stopped`
        says whether rows are missing because the budget ended.
        """
        rows = self._rows[state.hash]
        known = self._latest.get(state.hash)
        if known is not None and len(known.evaluation.rows) == len(rows):
            return known
        evaluation = Evaluation(tuple(rows[index] for index in sorted(rows)))
        candidate = Candidate(
            len(self.candidates),
            name,
            state,
            evaluation,
            of=self._size,
            stopped=stopped and len(rows) < self._size,
            objectives=self._objectives,
        )
        self.candidates.append(candidate)
        self._latest[state.hash] = candidate
        leads = candidate.complete and (self.best is None or candidate.rank > self.best.rank)
        if leads:
            self.best = candidate
        self._watcher.candidate(candidate, best=leads)
        for row in evaluation.rows:
            self._watcher.row(f"candidate {candidate.number}", row)
        return candidate

    def lead(self, candidate: Candidate) -> None:
        """Make an incomplete candidate the best if it is ahead of the best on shared rows."""
        if self.best is None or self.lead_over(candidate, self.best) > 0:
            self.best = candidate

    def lead_over(self, candidate: Candidate, other: Candidate) -> float:
        """Return a candidate's mean lead over another on the rows that both have."""
        mine, theirs = self._rows[candidate.state.hash], self._rows[other.state.hash]
        shared = [index for index in mine if index in theirs]
        if not shared:
            return 0.0
        return fmean(self._weighted(mine[i]) - self._weighted(theirs[i]) for i in shared)
