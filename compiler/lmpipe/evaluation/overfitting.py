"""Detect overfitting: a better score on the examples that chose a program than on new ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lmpipe.evaluation.results import Evaluation
from lmpipe.foundation.plural import plural
from lmpipe.foundation.statistics import Interval, two_sample_interval

_REMEDIES = {
    "train": "use more training examples or fewer demonstrations",
    "validation": "use more validation examples or fewer candidates",
}
# Gaps that suggest memorization, the most telling first.
_GAPS = (("train", "test"), ("validation", "test"), ("train", "validation"))


@dataclass(frozen=True)
class Overfitting:
    """A gap between two scores of one program that chance does not explain.

    Args:
        seen: the set with the higher score: `train` or `validation`.
        unseen: the set with the lower score: `validation` or `test`.
        examples: the number of examples in each of the two sets.
        interval: the 95 % confidence interval of the difference.
    """

    seen: str
    unseen: str
    high: float
    low: float
    examples: tuple[int, int]
    interval: Interval

    @property
    def sentence(self) -> str:
        """The warning, with its numbers and a remedy."""
        return (
            f"this looks overfitted: {100 * self.high:.1f}% on "
            f"{plural(self.examples[0], f'{self.seen} example')} but {100 * self.low:.1f}% on "
            f"{plural(self.examples[1], f'{self.unseen} example')}, "
            f"{100 * (self.high - self.low):.1f} points less (95 % interval "
            f"{100 * self.interval.low:.1f} to {100 * self.interval.high:.1f}); "
            f"{_REMEDIES[self.seen]}, and check that both sets are similar"
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
    """Find a gap between two scores of one program that chance does not explain.

    Returns:
        The first gap whose 95 % interval is above zero, or None. Train and validation are compared
        with test first, then train with validation. Evaluations may be missing or None.
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
