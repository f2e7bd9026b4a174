"""`Run`: what a compile came to, and how far its scores can be believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmpipe.evaluation.overfitting import Overfitting, find_overfitting
from lmpipe.evaluation.results import Evaluation
from lmpipe.foundation.statistics import Interval, out_of_bag_estimate
from lmpipe.lm.spend import Account, Spend
from lmpipe.modules.module import Module
from lmpipe.optimize.engine.events import Candidate
from lmpipe.state.program_state import ProgramState


@dataclass(frozen=True)
class TestResult:
    """The one final comparison, on examples that no optimizer saw.

    Args:
        evaluations: of each baseline and of `compiled`, by name.
        baseline: the name of the better baseline.
        difference: how much better the compiled program is, in score.
        interval: the paired 95 % interval of that difference.
    """

    __test__ = False  # not a test case, whatever pytest thinks of its name

    evaluations: Mapping[str, Evaluation]
    baseline: str
    difference: float
    interval: Interval

    @property
    def improved(self) -> bool:
        """Whether the compiled program is better, by the whole interval."""
        return self.interval.low > 0

    def to_json(self) -> dict[str, Any]:
        return {
            "scores": {name: item.summary() for name, item in self.evaluations.items()},
            "baseline": self.baseline,
            "difference": self.difference,
            "interval": [self.interval.low, self.interval.high],
            "improved": self.improved,
        }


@dataclass(frozen=True)
class Saved:
    """What racing was good for.

    Args:
        runs: runs of the program on validation examples that dropped candidates were spared.
        of: as many as all candidates would have taken to the end.
    """

    runs: int
    of: int


@dataclass(frozen=True)
class Run:
    """A finished compile.

    Args:
        program: bound to what was learned.
        state: what was learned.
        best: the winning candidate.
        candidates: all that were scored, in order.
        train: the winner on training examples that it does not show, or None if that was not
            measured.
        test: the final comparison, or None where there is no test set.
        validation_estimate: the winner's validation score, corrected for being the best of many;
            see `statistics.out_of_bag_estimate`. None where the winner did not meet all examples.
        racing: how many runs racing saved, and of how many.
        account: what was spent, by role, by predictor and by LM.
        stopped: why the search ended early, or the empty string.
        seconds: wall time.
        path: the run folder.
    """

    program: Module
    state: ProgramState
    best: Candidate
    candidates: Sequence[Candidate]
    train: Evaluation | None
    test: TestResult | None
    validation_estimate: float | None
    racing: Saved
    account: Account
    stopped: str
    seconds: float
    path: Path

    @property
    def spend(self) -> dict[str, Spend]:
        """What was spent, by role."""
        return self.account.by_role

    @property
    def scores(self) -> dict[str, float]:
        """The train and validation score of the winner, and the test scores by what was tested."""
        found = {"train": self.train.score} if self.train else {}
        found["validation"] = self.best.score
        if self.test:
            found |= {name: item.score for name, item in self.test.evaluations.items()}
        return found

    @property
    def overfitting(self) -> Overfitting | None:
        """Why the result looks overfitted, or None."""
        tested = self.test.evaluations["compiled"] if self.test else None
        return find_overfitting(
            {"train": self.train, "validation": self.best.evaluation, "test": tested}
        )

    def to_json(self) -> dict[str, Any]:
        """What the manifest says of it."""
        overfitting = self.overfitting
        return {
            "best": {"number": self.best.number, "name": self.best.name, "state": self.state.hash},
            "validation": [
                {
                    "number": candidate.number,
                    "name": candidate.name,
                    **candidate.standing(),
                    **candidate.evaluation.summary(),
                }
                for candidate in self.candidates
            ],
            "validation_estimate": self.validation_estimate,
            "train": self.train.summary() if self.train else None,
            "test": self.test.to_json() if self.test else None,
            "overfitting": overfitting.to_json() if overfitting else None,
            "racing": {"saved": self.racing.runs, "of": self.racing.of},
            "spend": self.account.to_json(),
            "stopped": self.stopped,
            "seconds": self.seconds,
        }


def saved_by_racing(candidates: Sequence[Candidate]) -> Saved:
    """Count the runs that dropped candidates were spared."""
    latest = {candidate.state.hash: candidate for candidate in candidates}
    return Saved(
        sum(item.of - len(item.evaluation.rows) for item in latest.values() if item.dropped),
        sum(item.of for item in latest.values()),
    )


def corrected_score(candidates: Sequence[Candidate], best: Candidate, seed: int) -> float | None:
    """The validation score of the best, corrected for its having been chosen by that score.

    The choice was among all candidates; those that were dropped have no rows to be judged by, and
    would rarely be chosen.
    """
    if not best.complete:
        return None
    # Of equal scores the shorter prompts win, as in `Candidate.rank`.
    whole = sorted((item for item in candidates if item.complete), key=lambda c: c.prompt_tokens)
    return out_of_bag_estimate([item.evaluation.values for item in whole], seed=seed)
