"""The rules of a race: which candidates are still worth scoring, given the rows they share.

Candidates are run on the validation examples in one order, block by block. After each block, those
that are behind the leader by more than chance are dropped. Decisions are made only at the ends of
blocks, so they do not depend on timing.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import sub
from statistics import fmean
from typing import TypeVar

from lmpipe.errors import RecipeError
from lmpipe.foundation.checks import check_fields
from lmpipe.foundation.statistics import difference_interval

K = TypeVar("K", bound=Hashable)

# A block is a fifth of the examples, but 8 to 25 of them: fewer rows cannot tell candidates apart,
# and more are wasted on losers.
_BLOCKS, _SMALLEST, _LARGEST = 5, 8, 25
# An example is uninformative if this many candidates or more all had the same score on it.
_ENOUGH_CANDIDATES = 3


@dataclass(frozen=True, kw_only=True)
class Racing:
    """When a race drops a candidate.

    After each block, a paired Student t test against the leader, as in the pairwise form of F-Race
    (Birattari et al. 2002; Maron and Moore, "Hoeffding races", NIPS 1993). Its level is divided by
    the number of looks (Bonferroni), so that many looks drop no more good candidates than one.

    Args:
        risk: the probability, over all looks together, of dropping a candidate that is as good as
            the leader; above 0 and below 0.5.
        block: the number of examples between two looks, 2 or more; by default a fifth of them,
            but 8 to 25.

    Raises:
        RecipeError: if a number is out of range.
    """

    risk: float = 0.2
    block: int | None = None

    def __post_init__(self) -> None:
        check_fields(self, "risk", above=0, below=0.5, error=RecipeError)
        check_fields(self, "block", minimum=2, integer=True, optional=True, error=RecipeError)

    def blocks(self, order: Sequence[int]) -> list[Sequence[int]]:
        """Cut the order of the examples into blocks of about equal size."""
        size = self.block or min(max(-(-len(order) // _BLOCKS), _SMALLEST), _LARGEST)
        count = max(1, round(len(order) / size))
        cuts = [round(number * len(order) / count) for number in range(count + 1)]
        return [order[start:end] for start, end in pairwise(cuts)]

    def survivors(self, scores: Mapping[K, Sequence[float]], *, looks: int) -> list[K]:
        """Select those that may still be the best, by their scores on the same rows.

        `looks` is the total number of looks in the race. Of equal means, the first one leads.
        Scores may leave [0, 1], as those that are weighed against costs do.
        """
        leader = max(scores, key=lambda key: fmean(scores[key]))
        confidence = 1 - 2 * self.risk / max(1, looks)
        return [
            key
            for key, values in scores.items()
            if key == leader
            or difference_interval(list(map(sub, values, scores[leader])), confidence).high >= 0
        ]


@dataclass(frozen=True, kw_only=True)
class Knockout(Racing):
    """A first look at candidates for few runs: after each block, at most half of them stay.

    Blocks grow as the field shrinks, as in successive halving (Jamieson and Talwalkar,
    "Non-stochastic best arm identification", AISTATS 2016). A candidate that differs from the best
    so far on no row is dropped, too, and from the second block on whatever is not ahead of it. It
    finds what is clearly better, and may drop what is a little better.

    Args:
        block: the number of examples in the first block; 8 by default.
    """

    def blocks(self, order: Sequence[int]) -> list[Sequence[int]]:
        """Cut the order of the examples into blocks, of which each doubles the examples so far."""
        cuts, end = [0], self.block or _SMALLEST
        while end < len(order):
            cuts.append(end)
            end *= 2
        return [order[start:end] for start, end in pairwise([*cuts, len(order)])]

    def survivors(self, scores: Mapping[K, Sequence[float]], *, looks: int) -> list[K]:
        """Select the better half of those that may be better than the first, the best so far."""
        first, *others = scores
        least = fmean(scores[first])
        first_block = len(scores[first]) <= (self.block or _SMALLEST)
        staying = [
            key
            for key in super().survivors(scores, looks=looks)
            if key != first
            and list(scores[key]) != list(scores[first])
            and (first_block or fmean(scores[key]) > least)
        ]
        ranked = sorted(staying, key=lambda key: -fmean(scores[key]))
        return [first, *ranked[: -(-len(others) // 2)]]


def informative_first(order: Sequence[int], scores: Sequence[Mapping[int, float]]) -> list[int]:
    """Move the examples that do not tell candidates apart to the end of the order.

    `scores` has the scores of each candidate so far, by example. An example is uninformative if
    three or more candidates were scored on it and all scores are the same.
    """
    settled = set()
    for example in order:
        seen = [known[example] for known in scores if example in known]
        if len(seen) >= _ENOUGH_CANDIDATES and min(seen) == max(seen):
            settled.add(example)
    return sorted(order, key=lambda example: example in settled)
