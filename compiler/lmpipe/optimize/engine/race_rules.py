"""Racing: which candidates are still worth scoring, judged on the rows that they share.

Candidates meet the validation examples in one order, block by block. After each block, those that
are behind the leader by more than chance are dropped; the others go on. Decisions fall at the ends
of blocks alone, so that they depend on no timing.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import TypeVar

from lmpipe.errors import RecipeError
from lmpipe.foundation.statistics import paired_interval

K = TypeVar("K", bound=Hashable)

# A block is a fifth of the examples, within these bounds: fewer rows than the least cannot tell
# candidates apart, more than the most are paid for losers in vain.
_SHARE, _LEAST, _MOST = 5, 8, 25


@dataclass(frozen=True, kw_only=True)
class Racing:
    """When a candidate is dropped.

    A paired Student t test against the leader after each block, as in F-Race's pairwise form
    (Birattari et al. 2002; Maron and Moore, "Hoeffding races", NIPS 1993), at a level that is
    divided by the number of looks (Bonferroni), so that looking often drops no more good
    candidates than looking once.

    Args:
        risk: the chance, over all looks together, of dropping a candidate that is as good as the
            leader.
        block: examples between two looks; by default a fifth of them, 8 to 25.

    Raises:
        RecipeError: if a number is out of range.
    """

    risk: float = 0.2
    block: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.risk < 0.5 or (self.block is not None and self.block < 2):
            raise RecipeError(
                f"{self}: the risk must be in (0, 0.5) and a block of 2 or more examples"
            )

    def blocks(self, order: Sequence[int]) -> list[Sequence[int]]:
        """Cut the order of the examples into blocks; a short rest joins the last one."""
        size = self.block or min(max(-(-len(order) // _SHARE), _LEAST), _MOST)
        count = max(1, round(len(order) / size))
        cuts = [round(number * len(order) / count) for number in range(count + 1)]
        return [order[start:end] for start, end in pairwise(cuts)]

    def survivors(self, scores: Mapping[K, Sequence[float]], *, looks: int) -> list[K]:
        """Those that may still be the best.

        Args:
            scores: the scores of each on the same rows, in order of preference: of equal ones
                the first leads.
            looks: how often in all the race is judged before its end.
        """
        leader = max(scores, key=lambda key: fmean(scores[key]))
        confidence = 1 - 2 * self.risk / max(1, looks)
        return [
            key
            for key, values in scores.items()
            if key == leader or not self._behind(values, scores[leader], confidence)
        ]

    def _behind(self, values: Sequence[float], leading: Sequence[float], level: float) -> bool:
        differences = [one - other for one, other in zip(values, leading, strict=True)]
        return paired_interval(differences, level).high < 0


def informative_first(order: Sequence[int], scores: Sequence[Mapping[int, float]]) -> list[int]:
    """Move the examples that tell no candidates apart to the end of the order.

    Args:
        order: the examples.
        scores: what each candidate so far scored, by example; an example on which three or more
            of them scored the same, and none another score, tells nothing.
    """
    settled = set()
    for example in order:
        seen = [known[example] for known in scores if example in known]
        if len(seen) >= _ENOUGH and min(seen) == max(seen):
            settled.add(example)
    return sorted(order, key=lambda example: example in settled)


_ENOUGH = 3
