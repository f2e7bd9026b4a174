"""Whether a change helps, from scores before and after it on the same examples."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

# A score before a change and after it, on the same example.
Pair = tuple[float, float]

# Before anything was compared, every second example that can get worse is expected to.
_PRIOR_LOSSES, _PRIOR_AT_RISK = 0.5, 1.0


class PairedTest:
    """Tests whether gains are more than chance, with the losses seen so far as the measure of it.

    A change that does not help moves scores up as often as down. How often scores go down is
    counted over all comparisons of a search: where changes never break what was right, one gain is
    evidence; where answers flicker, it takes several. Examples on which the score was low may be
    chosen on purpose, so the chance of a gain is that of an example that can get better:
    `P(loss) / P(can gain)`, where the examples that can get worse stand for as many examples that
    were not chosen as there are among these.

    Args:
        level: the probability of a gain by chance up to which a change helps.
    """

    def __init__(self, level: float) -> None:
        self._level = level
        self._losses = self._examples = 0.0

    def learn(self, pairs: Sequence[Pair], usual: Sequence[float]) -> None:
        """Count the losses of a comparison.

        Args:
            pairs: scores before and after a change.
            usual: scores before the change, on examples that were not chosen by them.
        """
        at_risk = sum(before > 0 for before, _ in pairs)
        self._examples += at_risk / _at_risk(usual)
        self._losses += sum(after < before for before, after in pairs)

    def loss(self, usual: Sequence[float]) -> float:
        """Return the probability that an example that was not chosen gets worse by chance."""
        seen = self._examples + _PRIOR_AT_RISK / _at_risk(usual)
        return (self._losses + _PRIOR_LOSSES) / seen

    def chance(self, usual: Sequence[float]) -> float:
        """Return the probability that an example that can get better does so by chance."""
        can_gain = (sum(score < 1 for score in usual) + 0.5) / (len(usual) + 1)
        return min(0.95, self.loss(usual) / can_gain)

    def helps(self, pairs: Sequence[Pair], usual: Sequence[float]) -> bool:
        """Say whether as many net gains come by chance with at most the test's level.

        Args:
            pairs: scores before and after the change.
            usual: scores before the change, on examples that were not chosen by them.
        """
        room = sum(before < 1 for before, _ in pairs)
        net = net_gains(pairs)
        return net > 0 and at_least(net, room, self.chance(usual)) <= self._level


def _at_risk(usual: Sequence[float]) -> float:
    """Return the share of examples that can get worse."""
    return (sum(score > 0 for score in usual) + 0.5) / (len(usual) + 1)


def sign_test(pairs: Sequence[Pair]) -> float:
    """Return the probability of at least as many gains among the changes, if both are as likely.

    It needs no knowledge of other comparisons: the exact test of McNemar (1947), one-sided.
    """
    better = sum(after > before for before, after in pairs)
    changed = sum(after != before for before, after in pairs)
    return at_least(better, changed, 0.5)


def net_gains(pairs: Sequence[Pair]) -> int:
    """Return how many more examples got better than worse."""
    return sum((after > before) - (after < before) for before, after in pairs)


def at_least(count: int, of: int, chance: float) -> float:
    """Return the probability of `count` or more successes in `of` draws."""
    return sum(
        comb(of, number) * chance**number * (1 - chance) ** (of - number)
        for number in range(count, of + 1)
    )
