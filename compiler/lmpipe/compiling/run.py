"""`Run`: the result of a compile, its scores and their corrections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmpipe.compiling.ablation import Ablation
from lmpipe.compiling.difference import Difference
from lmpipe.evaluation.overfitting import Overfitting, find_overfitting
from lmpipe.evaluation.results import Evaluation
from lmpipe.foundation.plural import plural
from lmpipe.foundation.statistics import Interval, out_of_bag_estimate
from lmpipe.lm.spend import Account, Spend
from lmpipe.modules.module import Module
from lmpipe.optimize.engine.events import Candidate
from lmpipe.optimize.engine.proposer import Proposals
from lmpipe.state.program_state import ProgramState


@dataclass(frozen=True)
class TestResult:
    """The final comparison, on examples that no optimizer saw.

    Args:
        evaluations: the evaluations of each baseline and of `compiled`, by name.
        baseline: the name of the better baseline.
        difference: the score of the compiled program minus that of the baseline.
        interval: the paired 95 % confidence interval of the difference.
        weighted: the same of their weighted scores, if the recipe has objectives.
    """

    __test__ = False  # pytest would take the class for a test case

    evaluations: Mapping[str, Evaluation]
    baseline: str
    difference: float
    interval: Interval
    weighted: Difference | None = None

    @property
    def improved(self) -> bool:
        """Whether the compiled program is better: the whole interval is above 0.

        If the recipe has objectives, it is the interval of the difference of their weighted scores.
        """
        return (self.weighted.interval if self.weighted else self.interval).low > 0

    def to_json(self) -> dict[str, Any]:
        return {
            "scores": {name: item.summary() for name, item in self.evaluations.items()},
            "baseline": self.baseline,
            "difference": self.difference,
            "interval": [self.interval.low, self.interval.high],
            "improved": self.improved,
            **({"weighted": self.weighted.to_json()} if self.weighted else {}),
        }


@dataclass(frozen=True)
class Saved:
    """The program runs that racing saved, of those that all candidates would have needed."""

    runs: int
    of: int


@dataclass(frozen=True)
class Run:
    """A finished compile.

    Args:
        program: the program, bound to the learned state.
        state: the learned state.
        best: the winning candidate.
        candidates: all scored candidates, in order.
        train: the winner on training examples that are not in its demonstrations; None if it was
            not scored on them.
        test: the final comparison; None without a test set.
        ablation: what each part of the result adds; None if the recipe wants none, or the result
            is the program as declared.
        validation_estimate: the winner's validation score, corrected for being the best of many;
            see `statistics.out_of_bag_estimate`. None if the winner did not meet all examples.
        racing: the program runs that racing saved.
        proposals: what became of the questions to the proposer.
        account: the spend, by role, predictor and LM.
        stopped: why the compile ended early; empty if it did not.
        seconds: wall time.
        path: the run folder.
    """

    program: Module
    state: ProgramState
    best: Candidate
    candidates: Sequence[Candidate]
    train: Evaluation | None
    test: TestResult | None
    ablation: Ablation | None
    validation_estimate: float | None
    racing: Saved
    proposals: Proposals
    account: Account
    stopped: str
    seconds: float
    path: Path

    def __repr__(self) -> str:
        tested = self.test.evaluations["compiled"].score if self.test else None
        test = "not tested" if tested is None else f"test {tested:.1%}"
        return (
            f"<Run {self.path}: {self.best.name}, validation {self.best.score:.1%}, {test}, "
            f"{plural(self.account.total.calls, 'LM call')}>"
        )

    @property
    def spend(self) -> dict[str, Spend]:
        """The spend, by role."""
        return self.account.by_role

    @property
    def scores(self) -> dict[str, float]:
        """The scores: `train` and `validation` of the winner, and the test scores by name."""
        found = {"train": self.train.score} if self.train else {}
        found["validation"] = self.best.score
        if self.test:
            found |= {name: item.score for name, item in self.test.evaluations.items()}
        return found

    @property
    def overfitting(self) -> Overfitting | None:
        """Why the result looks overfitted; None if it does not."""
        tested = self.test.evaluations["compiled"] if self.test else None
        return find_overfitting(
            {"train": self.train, "validation": self.best.evaluation, "test": tested}
        )

    def to_json(self) -> dict[str, Any]:
        """Return the entries of the manifest."""
        overfitting = self.overfitting
        return {
            "best": {"number": self.best.number, "name": self.best.name, "state": self.state.hash},
            "validation": [
                {
                    "number": candidate.number,
                    "name": candidate.name,
                    **candidate.standing(),
                    **candidate.evaluation.summary(),
                    **candidate.per_run(),
                }
                for candidate in self.candidates
            ],
            "validation_estimate": self.validation_estimate,
            "train": self.train.summary() if self.train else None,
            "test": self.test.to_json() if self.test else None,
            "ablation": self.ablation.to_json() if self.ablation else None,
            "overfitting": overfitting.to_json() if overfitting else None,
            "racing": {"saved": self.racing.runs, "of": self.racing.of},
            "proposals": self.proposals.to_json(),
            "spend": self.account.to_json(),
            "stopped": self.stopped,
            "seconds": self.seconds,
        }


def saved_by_racing(candidates: Sequence[Candidate]) -> Saved:
    """Count the runs that dropped candidates did not need."""
    latest = {candidate.state.hash: candidate for candidate in candidates}
    return Saved(
        sum(item.of - len(item.evaluation.rows) for item in latest.values() if item.dropped),
        sum(item.of for item in latest.values()),
    )


def corrected_score(candidates: Sequence[Candidate], best: Candidate, seed: int) -> float | None:
    """Return the validation score of the best, corrected for choosing it by that score.

    Dropped candidates are left out: they did not meet all examples, and would rarely be chosen.
    """
    if not best.complete:
        return None
    # Of equal ones the run of fewest tokens wins, as in `Candidate.rank`.
    complete = sorted((item for item in candidates if item.complete), key=lambda c: c.run_tokens)
    chosen_by = [item.weighted_scores for item in complete] if best.objectives else None
    scores = [item.evaluation.values for item in complete]
    return out_of_bag_estimate(scores, seed=seed, chosen_by=chosen_by)
