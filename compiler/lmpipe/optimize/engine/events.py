"""What an optimizer's run tells those who watch it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from lmpipe.evaluation.results import Evaluation, Row
from lmpipe.lm.spend import Spend
from lmpipe.state.program_state import ProgramState
from lmpipe.weights.trainer import TrainingProgress


@dataclass(frozen=True)
class Candidate:
    """A state that was scored on the validation examples, or on the first of them.

    Args:
        number: its place in the order of scoring, from 0.
        name: how it came about, in a few words.
        state: what was learned.
        evaluation: its rows on the validation examples that it met before it was dropped.
        of: how many validation examples there are.
        stopped: whether the budget ended while it ran; one without all examples was dropped
            otherwise.
    """

    number: int
    name: str
    state: ProgramState
    evaluation: Evaluation
    of: int
    stopped: bool = False

    @property
    def score(self) -> float:
        """The mean score on the rows it has; those of a dropped one are the harder ones."""
        return self.evaluation.score

    @property
    def complete(self) -> bool:
        """Whether it was scored on all validation examples, and not dropped before."""
        return len(self.evaluation.rows) == self.of

    @property
    def dropped(self) -> bool:
        """Whether it left a race before its end, behind by more than chance."""
        return not self.complete and not self.stopped

    def standing(self) -> dict[str, Any]:
        """How far it came, as JSON."""
        return {"complete": self.complete, "stopped": self.stopped, "of": self.of}

    @property
    def prompt_tokens(self) -> float:
        """Prompt tokens of one run, on average."""
        return self.evaluation.usage.prompt_tokens / len(self.evaluation.rows)

    @property
    def rank(self) -> tuple[float, float]:
        """By score; of equal ones, that with the shorter prompts is better."""
        return self.score, -self.prompt_tokens


@dataclass(frozen=True)
class Rollout:
    """One run of a program on a training example, by a teacher.

    Args:
        row: the run, scored by the metric.
        sample: the number of the sample.
        passed: whether its score reaches the optimizer's threshold.
    """

    row: Row
    sample: int
    passed: bool

    def to_json(self) -> dict[str, Any]:
        return {
            **self.row.to_json(),
            "sample": self.sample,
            "passed": self.passed,
            "steps": [
                {"predictor": step.predictor, "inputs": step.inputs, "outputs": step.outputs}
                for step in self.row.trace.steps
            ],
        }


@dataclass(frozen=True)
class Progress:
    """Where a compile stands.

    Args:
        phase: what it does: `baselines`, the optimizer's name, `test`.
        step: what it runs now, such as a candidate's name.
        done: rows that have ended in this step.
        of: rows of this step.
        best: the best validation score so far, or None.
        best_name: the name of the candidate that has it.
        spend: all that is spent.
        training: how far a training is, where the step is one; `done` and `of` are its steps.
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
    """Someone who watches: the run folder, the terminal, a test."""

    def progress(self, progress: Progress) -> None:
        """A row has ended or a step begun."""
        ...

    def candidate(self, candidate: Candidate, *, best: bool) -> None:
        """A candidate was scored; `best` if none was better before."""
        ...

    def rollout(self, rollout: Rollout) -> None:
        """A rollout was scored."""
        ...

    def row(self, subject: str, row: Row) -> None:
        """An example of an evaluation was scored; rows come in the data's order."""
        ...

    def note(self, kind: str, data: Mapping[str, Any]) -> None:
        """Something else worth keeping, such as a retry or the end of the budget."""
        ...


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
