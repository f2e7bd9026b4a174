"""The trials of MIPROv2: what was scored in a space that gets new instructions on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lmpipe.optimize.engine.events import Candidate
from lmpipe.optimize.engine.race import Entry
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.mipro_space import Space
from lmpipe.optimize.shared.tpe import Point, TreeParzen
from lmpipe.state.program_state import ProgramState


@dataclass
class Trials:
    """The points of a space that were scored.

    Attributes:
        count: the number of trials so far, without the baselines.
    """

    task: Task
    space: Space
    count: int = 0
    _scored: list[tuple[Point, Candidate]] = field(default_factory=list)

    def __post_init__(self) -> None:
        known = {candidate.state: candidate for candidate in self.task.candidates}
        for point in self.space.baselines():
            if candidate := known.get(self.space.state(point)[1]):
                self._scored.append((point, candidate))

    def best(self) -> Point:
        """Return the best point so far; of equal ones, the one with the newest instructions.

        A search that waits for a gain never leaves a plateau. A point that dropped out of a race
        counts no more than the best one that was scored in full: few rows may be lucky.
        """
        whole = [one.weighted_score for _, one in self._scored if one.complete]
        most = max(whole, default=1.0)
        ranks = {
            (min(self.task.estimate(candidate), most), self.space.newness(point)): point
            for point, candidate in self._scored
        }
        return ranks[max(ranks)] if ranks else self.space.baselines()[0]

    def best_state(self) -> ProgramState:
        """Return the state of the best point so far."""
        return self.space.state(self.best())[1]

    def tried(self, path: str) -> dict[str, float]:
        """Return a predictor's instructions with their best scores, that of the best point last."""
        scores: dict[int, float] = {}
        for point, candidate in self._scored:
            number = point.get(f"instruction of {path}", 0)
            estimate = self.task.estimate(candidate)  # below 0 where costs outweigh the score
            scores[number] = max(scores.get(number, estimate), estimate)
        own = self.best().get(f"instruction of {path}", 0)
        ranked = sorted(scores, key=lambda number: (number == own, scores[number]))
        return {self.space.instructions[path][number]: scores[number] for number in ranked}

    def add_instructions(self, proposed: Mapping[str, Sequence[str]]) -> list[Point]:
        """Add instructions to the space; return the best point with each of them in turn."""
        best = self.best()
        self.space = self.space.adding(proposed)
        return [self._filled(move) for move in self.space.moves(best, proposed)]

    def teach(self, parzen: TreeParzen) -> None:
        """Let an estimator learn all points so far."""
        for point, candidate in self._scored:
            parzen.learn(self._filled(point), self.task.estimate(candidate))

    async def race(self, points: Sequence[Point], entries: Sequence[Entry]) -> list[float]:
        """Race the states of some points, given with their names; return their scores."""
        raced = await self.task.race(entries, halve=True)
        self._scored += zip(points, raced, strict=True)
        self.count += len(points)
        return [self.task.estimate(candidate) for candidate in raced]

    def _filled(self, point: Point) -> Point:
        """Return a point of an earlier space as one of the present space."""
        return {**dict.fromkeys(self.space.choices(), 0), **point}
