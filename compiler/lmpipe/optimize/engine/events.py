"""What an optimizer's run reports to its watchers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol, runtime_checkable

from lmpipe.evaluation.results import Evaluation, Row
from lmpipe.lm.spend import Spend
from lmpipe.optimize.engine.objectives import Objectives, run_tokens, run_usd
from lmpipe.state.program_state import ProgramState
from lmpipe.state.trace import Step
from lmpipe.weights.trainer import TrainingProgress

# The kind of the notes on what each stage of a portfolio gained; they have a `message` to show.
STAGE_NOTE = "stage gained"


@dataclass(frozen=True)
class Candidate:
    """A state that was scored on all validation examples, or on some before it was dropped.

    Args:
        number: its position in the order of scoring, from 0.
        name: how it was made, in a few words.
        evaluation: its rows on the validation examples that it was run on.
        of: the number of validation examples.
        stopped: whether the budget ended while it was being scored. A candidate without all rows
            that was not stopped was dropped.
        objectives: what the recipe weighs against the score, if anything.
    """

    number: int
    name: str
    state: ProgramState
    evaluation: Evaluation
    of: int
    stopped: bool = False
    objectives: Objectives | None = None

    @property
    def score(self) -> float:
        """The mean score of its rows; a dropped candidate only has the harder ones."""
        return self.evaluation.score

    @property
    def complete(self) -> bool:
        """Whether it was scored on all validation examples."""
        return len(self.evaluation.rows) == self.of

    @property
    def dropped(self) -> bool:
        """Whether it left a race early because it was behind."""
        return not self.complete and not self.stopped

    def standing(self) -> dict[str, Any]:
        """How much of the validation set it was scored on, as JSON."""
        return {"complete": self.complete, "stopped": self.stopped, "of": self.of}

    @cached_property
    def weighted_score(self) -> float:
        """What candidates are compared by: the score, less what its runs cost by the objectives."""
        if self.objectives is None:
            return self.score
        return fmean(map(self.objectives.weighted_score, self.evaluation.rows))

    @cached_property
    def weighted_scores(self) -> tuple[float, ...]:
        """The weighted scores of its rows, in the data's order."""
        if self.objectives is None:
            return self.evaluation.values
        return tuple(map(self.objectives.weighted_score, self.evaluation.rows))

    @cached_property
    def run_tokens(self) -> float:
        """The mean number of tokens of one run, without those of the metric."""
        return fmean(map(run_tokens, self.evaluation.rows))

    @cached_property
    def run_usd(self) -> float | None:
        """The mean cost of one run at full price; None if a price is unknown."""
        costs = [run_usd(row) for row in self.evaluation.rows]
        known = [cost for cost in costs if cost is not None]
        return fmean(known) if len(known) == len(costs) else None

    def per_run(self) -> dict[str, Any]:
        """What one run takes, and the weighted score if the recipe has objectives, as JSON."""
        weighted = {} if self.objectives is None else {"weighted_score": self.weighted_score}
        return {"run_tokens": self.run_tokens, "run_usd": self.run_usd, **weighted}

    @property
    def rank(self) -> tuple[float, float]:
        """A sort key: the weighted score, then runs of fewer tokens before others."""
        return self.weighted_score, -self.run_tokens


@dataclass(frozen=True)
class Rollout:
    """One run of the teacher on a training example.

    Args:
        row: the run, scored by the metric.
        sample: the sample number.
        passed: whether the score reaches the optimizer's threshold.
    """

    row: Row
    sample: int
    passed: bool

    def to_json(self) -> dict[str, Any]:
        tools, searches = self.row.trace.tools, self.row.trace.searches
        return {
            **self.row.to_json(),
            "sample": self.sample,
            "passed": self.passed,
            "steps": [_step(step) for step in self.row.trace.steps],
            **({"tools": [tool.to_json() for tool in tools]} if tools else {}),
            **({"searches": [search.to_json() for search in searches]} if searches else {}),
        }


def _step(step: Step) -> dict[str, Any]:
    values = {"predictor": step.predictor, "inputs": step.inputs, "outputs": step.outputs}
    if not step.checks and not step.discarded:
        return values
    checks = [asdict(check) for check in step.checks]
    return {**values, "error": step.error, "checks": checks}


@dataclass(frozen=True)
class Progress:
    """The progress of a compile.

    Args:
        phase: `baselines`, the optimizer's name, `test`, `train` or `ablation`.
        step: what runs now, such as a candidate's name.
        done: rows of this step that have ended.
        of: all rows of this step.
        best: the best validation score so far, or None.
        best_name: the name of the candidate that has it.
        spend: the total spend so far.
        training: the progress of a training, if the step is one; `done` and `of` then count
            training steps.
    """

    phase: str
    step: str
    done: int
    of: int
    best: float | None
    best_name: str
    spend: Spend
    training: TrainingProgress | None = None


class Watcher(Protocol):
    """A receiver of events: the run folder, the terminal, a test."""

    def progress(self, progress: Progress) -> None:
        """A row ended or a step began."""
        ...

    def candidate(self, candidate: Candidate, *, best: bool) -> None:
        """A candidate was scored; `best` says whether it is the best so far."""
        ...

    def rollout(self, rollout: Rollout) -> None:
        """A rollout was scored."""
        ...

    def row(self, subject: str, row: Row) -> None:
        """An example of an evaluation was scored; rows come in the data's order."""
        ...

    def note(self, kind: str, data: Mapping[str, Any]) -> None:
        """Something else worth recording happened, such as a retry or the end of the budget."""
        ...


@runtime_checkable
class FolderWatcher(Protocol):
    """A watcher that is told the run folder before anything else."""

    def opened(self, folder: Path) -> None:
        """The run folder was opened; it has a manifest."""
        ...


class WatcherBase:
    """A `Watcher` whose methods do nothing; subclasses override those for events that they use."""

    def progress(self, progress: Progress) -> None:
        """Handle the start of a step or the end of a row."""

    def candidate(self, candidate: Candidate, *, best: bool) -> None:
        """Handle a candidate that was scored."""

    def rollout(self, rollout: Rollout) -> None:
        """Handle a rollout; `progress` counts them."""

    def row(self, subject: str, row: Row) -> None:
        """Handle a row; the run folder has them all."""

    def note(self, kind: str, data: Mapping[str, Any]) -> None:
        """Handle any other event."""


@dataclass
class Watchers:
    """Several watchers as one."""

    members: list[Watcher] = field(default_factory=list)

    def progress(self, progress: Progress) -> None:
        for member in self.members:
            member.progress(progress)

    def candidate(self, candidate: Candidate, *, best: bool) -> None:
        for member in self.members:
            member.candidate(candidate, best=best)

    def rollout(self, rollout: Rollout) -> None:
        for member in self.members:
            member.rollout(rollout)

    def row(self, subject: str, row: Row) -> None:
        for member in self.members:
            member.row(subject, row)

    def note(self, kind: str, data: Mapping[str, Any]) -> None:
        for member in self.members:
            member.note(kind, data)
