"""A race: candidates meet the validation examples block by block, and losers leave early."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from lmpipe.errors import BudgetExhaustedError
from lmpipe.optimize.engine.events import Candidate
from lmpipe.optimize.engine.race_rules import Racing
from lmpipe.optimize.engine.scoreboard import Scoreboard
from lmpipe.state.program_state import ProgramState

Pair = tuple[ProgramState, int]
Entry = tuple[str, ProgramState]


@dataclass(frozen=True)
class Race:
    """Runs one race on a scoreboard.

    Args:
        board: where rows are kept; a state is run on an example but once.
        rules: when a candidate is dropped; None scores all of them on everything.
        score: runs states on validation examples and puts the rows on the board.
    """

    board: Scoreboard
    rules: Racing | None
    score: Callable[[Sequence[Pair]], Awaitable[None]]

    async def run(self, entries: Sequence[Entry], order: Sequence[int]) -> list[Candidate]:
        """Race states against each other and against the best so far.

        Args:
            entries: names and states; those that were scored before are not run again.
            order: the validation examples in the order in which all of them meet.

        Returns:
            The candidates, in the order of the entries.

        Raises:
            BudgetExhaustedError: if the budget ends first. Where nothing is scored completely
                yet, or what leads the race is ahead of the best so far, the leader is the best.
        """
        field = [entry for entry in _distinct(entries) if not self.board.candidate(entry[1])]
        blocks = self.rules.blocks(order) if self.rules else [order]
        looks, met = len(blocks) - 1, 0
        try:
            while field and met < len(order):
                # With nobody to compare with there is no need to stop on the way.
                alone = len(self._rivals(field)) < 2
                end = len(order) if alone else met + len(blocks.pop(0))
                block = order[met:end]
                await self.score([(state, index) for _, state in field for index in block])
                met = end
                if met < len(order):
                    field = self._drop(field, order[:met], looks=looks)
        except BudgetExhaustedError:
            if met and field:
                self._stop(field, order[:met])
            raise
        for name, state in field:
            self.board.record(name, state)
        found = [self.board.candidate(state) for _, state in entries]
        return [candidate for candidate in found if candidate is not None]

    def _rivals(self, field: Sequence[Entry]) -> list[ProgramState]:
        best = self.board.best
        states = [state for _, state in field]
        return [best.state, *states] if best is not None and best.complete else states

    def _drop(self, field: Sequence[Entry], met: Sequence[int], *, looks: int) -> list[Entry]:
        assert self.rules is not None
        scores = {state: self.board.values(state, met) for state in self._rivals(field)}
        staying = set(self.rules.survivors(scores, looks=looks))
        for name, state in field:
            if state not in staying:
                self.board.record(name, state)
        return [entry for entry in field if entry[1] in staying]

    def _stop(self, field: Sequence[Entry], met: Sequence[int]) -> None:
        """The budget is gone in mid-race: what leads on whole blocks is taken at its word."""
        self.board.trim([state for _, state in field], met)
        reached = [self.board.record(name, state, stopped=True) for name, state in field]
        self.board.lead(max(reached, key=lambda candidate: candidate.rank))


def _distinct(entries: Sequence[Entry]) -> list[Entry]:
    """The first entry of each state."""
    found: dict[ProgramState, str] = {}
    for name, state in entries:
        found.setdefault(state, name)
    return [(name, state) for state, name in found.items()]
