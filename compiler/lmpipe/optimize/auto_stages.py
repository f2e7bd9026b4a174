"""The stages of `Auto`: each starts from the best state so far, and tells what it gained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from lmpipe.foundation.plural import plural
from lmpipe.foundation.statistics import Interval, difference_interval
from lmpipe.optimize.engine.events import STAGE_NOTE, Candidate
from lmpipe.optimize.engine.optimizer import Optimizer
from lmpipe.optimize.engine.race import Entry
from lmpipe.optimize.engine.task import Task

# The confidence of the interval whose upper end is the reach of a candidate.
_REACH = 0.8


@dataclass(frozen=True)
class Outcome:
    """What one stage gained.

    Args:
        kind: what was searched, in a few words.
        runs: the runs of the program that it took.
        gain: the gain in score on validation; in weighted score if the recipe has objectives.
        interval: its paired 95 % interval.
        reach: the gain of one example, if the race's intervals leave room for that; else 0.
        weighted: whether the gain is one in weighted score.
    """

    kind: str
    runs: int
    gain: float
    interval: Interval
    reach: float
    weighted: bool = False

    @property
    def gained(self) -> bool:
        """Whether something better was found."""
        return self.gain > 0

    def __str__(self) -> str:
        took = f"for {plural(self.runs, 'run')}"
        if not self.gained:
            return f"{self.kind}: nothing better {took}"
        low, high = 100 * self.interval.low, 100 * self.interval.high
        points = "weighted points" if self.weighted else "points"
        return (
            f"{self.kind}: {100 * self.gain:+.1f} {points} {took} (95 % interval {low:+.1f} to "
            f"{high:+.1f})"
        )


class Before:
    """What a task had before a stage: its best candidate, runs, and number of candidates."""

    def __init__(self, task: Task) -> None:
        self.best: Candidate = task.best
        self.runs = task.runs
        self.candidates = len(task.candidates)


def worth_of(outcomes: Sequence[Outcome]) -> float | None:
    """Return what the next share may gain per run, after stages of one kind; None if none ran.

    It is what they gained per run. If they gained nothing, it is what one more right example would
    be, or 0 if no candidate may gain anything.
    """
    if not outcomes:
        return None
    gain = sum(item.gain for item in outcomes) or max(item.reach for item in outcomes)
    return gain / max(1, sum(item.runs for item in outcomes))


@dataclass
class Stages:
    """Runs stages within what `Auto` may do and what the budget allows.

    Args:
        task: the task, which has a best candidate already.
        most: the maximum number of runs of the program.

    Attributes:
        outcomes: what the stages gained so far, in their order.
    """

    task: Task
    most: int
    outcomes: list[Outcome] = field(default_factory=list)
    _kept: int = 0
    _for_combinations: int = 0

    def __post_init__(self) -> None:
        self._began = self.task.runs

    @property
    def perfect(self) -> bool:
        """Whether no candidate can be better than the best: its runs are all right, and free."""
        return self.task.best.weighted_score >= 1

    @property
    def most_left(self) -> int:
        """The runs that are left of the maximum."""
        return self.most - (self.task.runs - self._began)

    @property
    def left(self) -> int:
        """The runs that the next searches may take, as far as the budget can be estimated."""
        allowed = self.task.allowance().runs
        left = self.most_left if allowed is None else min(self.most_left, allowed - self._kept)
        return max(0, left - self._for_combinations)

    def keep(self, runs: int) -> None:
        """Keep runs of the budget for what comes after the search."""
        self._kept += runs

    def keep_for_combinations(self) -> None:
        """Keep runs for the combinations, but at most a sixth."""
        self._for_combinations = min(2 * len(self.task.val), self.left // 6)

    def tell_baselines(self) -> None:
        """Tell what constrained outputs gained, which every compile finds out first."""
        declared = self.task.program.state()
        first = self.task.weighted_scores(declared)
        other = self.task.weighted_scores(declared.map(constrained=True))
        if other and first and declared != declared.map(constrained=True):
            found = _compare(first, other)
            self._tell(self._outcome("constrained outputs", len(other), *found, found[1].high))

    async def look(self, kind: str, optimizer: Optimizer) -> Outcome | None:
        """Run an optimizer whose candidates race by knockout, if nothing is perfect yet."""
        if self.perfect:
            return None
        return await self.run(kind, optimizer, task=self.task.with_knockouts())

    async def run(self, kind: str, optimizer: Optimizer, *, task: Task | None = None) -> Outcome:
        """Run an optimizer from the best state so far."""
        number, before = len(self.outcomes) + 1, Before(self.task)
        started = (task or self.task).starting_from(before.best.state, stage=f"stage {number}")
        result = await optimizer.optimize(started)
        await started.race([(optimizer.name, result)])
        return self._add(kind, before)

    async def race(self, kind: str, entries: Sequence[Entry]) -> None:
        """Race states by knockout, as many as may be run."""
        allowed = self.most_left // len(self.task.val)
        if entries[:allowed]:
            before = Before(self.task)
            await self.task.with_knockouts().race(entries[:allowed])
            self._add(kind, before)

    def skip(self, kind: str, why: str) -> None:
        """Say why something is left out."""
        self.task.note(STAGE_NOTE, stage=kind, skipped=True, message=f"{kind}: skipped, {why}")

    def _add(self, kind: str, before: Before) -> Outcome:
        task = self.task
        known = task.weighted_scores(before.best.state)
        gain, interval = _compare(known, task.weighted_scores(task.best.state))
        tried = [task.weighted_scores(item.state) for item in task.candidates[before.candidates :]]
        may_gain = not tried or any(_compare(known, rows, _REACH)[1].high > 0 for rows in tried)
        reach = 1 / len(task.val) if may_gain else 0.0
        outcome = self._outcome(kind, task.runs - before.runs, gain, interval, reach)
        self.outcomes.append(outcome)
        self._tell(outcome)
        return outcome

    def _outcome(
        self, kind: str, runs: int, gain: float, interval: Interval, reach: float
    ) -> Outcome:
        weighted = self.task.best.objectives is not None
        return Outcome(kind, runs, gain, interval, reach, weighted)

    def _tell(self, outcome: Outcome) -> None:
        self.task.note(
            STAGE_NOTE,
            stage=outcome.kind,
            runs=outcome.runs,
            gain=outcome.gain,
            interval=[outcome.interval.low, outcome.interval.high],
            message=str(outcome),
        )


def _compare(
    before: Mapping[int, float], after: Mapping[int, float], confidence: float = 0.95
) -> tuple[float, Interval]:
    """Return the mean gain on the examples that both were run on, and its paired interval."""
    changes = [value - before[index] for index, value in after.items() if index in before]
    return fmean(changes), difference_interval(changes, confidence)
