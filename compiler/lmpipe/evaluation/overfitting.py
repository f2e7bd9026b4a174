"""Overfitting: whether a program scores better on what chose it than on what it never met."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lmpipe.evaluation.results import Evaluation
from lmpipe.foundation.statistics import Interval, two_sample_interval

_REMEDIES = {
    "train": "give it more training examples, or show it fewer demonstrations",
    "validation": "give it more validation examples, or try fewer candidates",
}
# What a set was to the compile decides which gaps say that it learned by heart.
_GAPS = (("train", "test"), ("validation", "test"), ("train", "validation"))


@dataclass(frozen=True)
class Overfitting:
    """A score that is above another one by more than chance.

    Args:
        seen: the set on which the score is higher: `train` or `validation`.
        unseen: the set on which it is lower: `validation` or `test`.
        high: the score on the one.
        low: the score on the other.
        examples: how many examples each rests on.
        interval: the 95 % interval of the difference.
    """

    seen: str
    unseen: str
    high: float
    low: float
    examples: tuple[int, int]
    interval: Interval

    @property
    def sentence(self) -> str:
        """The warning for people, with its numbers and what to do."""
        return (
            f"this looks overfitted: {100 * self.high:.1f}% on {self.examples[0]} {self.seen} "
            f"examples but {100 * self.low:.1f}% on {self.examples[1]} {self.unseen} examples, "
            f"{100 * (self.high - self.low):.1f} points less (95 % interval "
            f"{100 * self.interval.low:.1f} to {100 * self.interval.high:.1f}); "
            f"{_REMEDIES[self.seen]}, and check that both sets are of one kind"
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "seen": self.seen,
            "unseen": self.unseen,
            "difference": self.high - self.low,
            "interval": [self.interval.low, self.interval.high],
            "sentence": self.sentence,
        }


def find_overfitting(evaluations: Mapping[str, Evaluation | None]) -> Overfitting | None:
    """Look for a gap between two scores of one program that chance does not explain.

    Args:
        evaluations: of the compiled program on `train`, `validation` and `test`, as far as it was
            scored on them.

    Returns:
        The first gap whose 95 % interval is above zero: train or validation over test, then train
        over validation; None if there is none.
    """
    for seen, unseen in _GAPS:
        first, second = evaluations.get(seen), evaluations.get(unseen)
        if first is None or second is None:
            continue
        interval = two_sample_interval(first.values, second.values)
        if interval.low > 0:
            sizes = (len(first.rows), len(second.rows))
            return Overfitting(seen, unseen, first.score, second.score, sizes, interval)
    return None
