"""`Difference`: how far two sets of weighted scores are apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import sub
from statistics import fmean
from typing import Any

from lmpipe.foundation.statistics import Interval, difference_interval


@dataclass(frozen=True)
class Difference:
    """The mean of a difference, with its paired 95 % confidence interval."""

    mean: float
    interval: Interval

    @staticmethod
    def between(after: Sequence[float], before: Sequence[float]) -> Difference:
        """Compare weighted scores on the same examples."""
        apart = list(map(sub, after, before))
        return Difference(fmean(apart), difference_interval(apart))

    def to_json(self) -> dict[str, Any]:
        return {"difference": self.mean, "interval": [self.interval.low, self.interval.high]}
