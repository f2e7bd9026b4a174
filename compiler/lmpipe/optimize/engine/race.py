"""A race: candidates are run on the validation examples block by block, and losers drop out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from lmpipe.errors import BudgetExhaustedError
from lmpipe.optimize.engine.events import Candidate
from lmpipe.optimize.engine.race_rules import Racing
from lmpipe.optimize.engine.scoreboard import Scoreboard
from lmpipe.state.program_state import ProgramState

Pair = tuple[ProgramState, int]
Entry = tuple[str, ProgramState]


@dataclass(frozen=True)
class Race:
    """Runs races on a scoreboard.

    Args:
        scoreboard: keeps the rows; a state is run on an example only once.
        rules: when a candidate is dropped; None scores every candidate on every example.
        score: runs states on validation examples and adds the rows to the scoreboard.
    """

    scoreboard: Scoreboard
    rules: Racing | None
    score: Callable[[Sequence[Pair]], Awaitable[None]]

    async def run(
        self, entries: Sequence[Entry], order: Sequence[int], *, halve: bool = False
    ) -> list[Candidate]:
        """Race states against each other and against the best candidate so far.

        Args:
            entries: names and states; states that are candidates already are not run again.
            order: the order of the validation examples, the same for all states.
            halve: whether to drop the worse half of the entries after each block.

        Raises:
            BudgetExhaustedError: if the budget ends first. The leader of the race is then the
                best candidate if it is ahead of the best so far, or if there is none yet.
        """
        names: dict[ProgramState, str] = {}
        for name, state in entries:
            if not self.scoreboard.candidate(state):
                names.setdefault(state, name)
        runners = [(name, state) for state, name in names.items()]
        blocks = self.rules.blocks(order) if self.rules else [order]
        looks, met = len(blocks) - 1, 0
        try:
            while runners and met < len(order):
                # A single runner has no rival to lose to: run the rest at once.
                alone = len(self._rivals(runners)) < 2
                end = len(order) if alone else met + len(blocks.pop(0))
                block = order[met:end]
                await self.score([(state, index) for _, state in runners for index in block])
                met = end
                if met < len(order):
                    runners = self._drop_losers(runners, order[:met], looks, halve=halve)
        except BudgetExhaustedError:
            if met and runners:  # only whole blocks count
                self.scoreboard.trim([state for _, state in runners], order[:met])
                stopped = [self.scoreboard.record(*runner, stopped=True) for runner in runners]
                self.scoreboard.lead(max(stopped, key=lambda candidate: candidate.rank))
            raise
        for name, state in runners:
            self.scoreboard.record(name, state)
        found = [self.scoreboard.candidate(state) for _, state in entries]
        return [candidate for candidate in found if candidate is not None]

    def _rivals(self, runners: Sequence[Entry]) -> list[ProgramState]:
        best = self.scoreboard.best
        states = [state for _, state in runners]
        return [best.state, *states] if best is not None and best.complete else states

    def _drop_losers(
        self, runners: Sequence[Entry], met: Sequence[int], looks: int, *, halve: bool
    ) -> list[Entry]:
        assert self.rules is not None
        rivals = self._rivals(runners)
        scores = {state: self.scoreboard.weighted_scores(state, met) for state in rivals}
        staying = set(self.rules.survivors(scores, looks=looks))
        if halve:
            ranked = sorted(runners, key=lambda entry: -fmean(scores[entry[1]]))
            staying &= {state for _, state in ranked[: (len(runners) + 1) // 2]}
        for name, state in runners:
            if state not in staying:
                self.scoreboard.record(name, state)
        return [entry for entry in runners if entry[1] in staying]
