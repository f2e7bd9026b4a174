"""Confidence intervals for scores, and the selection-bias correction of a best score."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

from lmpipe.errors import InputError


@dataclass(frozen=True, slots=True)
class Interval:
    """A closed confidence interval."""

    low: float
    high: float

    @property
    def width(self) -> float:
        return self.high - self.low

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"[{self.low:.3f}, {self.high:.3f}]"


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Compute a confidence interval for the mean of scores in [0, 1].

    Uses Wilson's interval if all scores are 0 or 1, or if all are equal (Student's t would give a
    width of 0); otherwise Student's t on the mean, clipped to [0, 1].

    Raises:
        InputError: if there are no values, one is out of range, or confidence is not in (0, 1).
    """
    _check(values, confidence, low=0.0)
    n, mean = len(values), _mean(values)
    if min(values) == max(values) or all(value in (0, 1) for value in values):
        return _wilson(mean, n, confidence)
    half = _t_half_width(values, mean, confidence)
    return Interval(max(0.0, mean - half), min(1.0, mean + half))


def paired_interval(differences: Sequence[float], confidence: float = 0.95) -> Interval:
    """Compute a confidence interval for the mean of per-row score differences, new minus old.

    Uses Student's t on the differences, clipped to [-1, 1]. Three cases have no variance to use:
    a single row gives [-1, 1]; differences that are all 0 give exactly [0, 0]; differences that
    all equal another value d give Wilson's interval for (d + 1) / 2, scaled back, so that two
    lucky rows do not look certain.
    """
    _check(differences, confidence, low=-1.0)
    n, mean = len(differences), _mean(differences)
    if n == 1:
        return Interval(-1.0, 1.0)
    if min(differences) == max(differences):
        if mean == 0:
            return Interval(0.0, 0.0)
        share = _wilson((mean + 1) / 2, n, confidence)
        return Interval(min(mean, 2 * share.low - 1), max(mean, 2 * share.high - 1))
    half = _t_half_width(differences, mean, confidence)
    return Interval(max(-1.0, mean - half), min(1.0, mean + half))


def difference_interval(differences: Sequence[float], confidence: float = 0.95) -> Interval:
    """Compute `paired_interval` for values that may leave [0, 1], such as scores less costs.

    If a difference is larger than 1, the largest takes the place of 1.
    """
    span = max(1.0, *map(abs, differences))
    if span == 1.0:
        return paired_interval(differences, confidence)
    scaled = paired_interval([difference / span for difference in differences], confidence)
    return Interval(span * scaled.low, span * scaled.high)


def two_sample_interval(
    first: Sequence[float], second: Sequence[float], confidence: float = 0.95
) -> Interval:
    """Compute a confidence interval for the difference of two means, first minus second.

    The samples are independent, with scores in [0, 1]. The intervals of the two means are combined
    by Newcombe's hybrid method (Statistics in Medicine 17, 1998, method 10 for proportions; Zou
    and Donner, Statistics in Medicine 27, 2008, for others).
    """
    one, other = mean_interval(first, confidence), mean_interval(second, confidence)
    mean, reference = _mean(first), _mean(second)
    down = math.hypot(mean - one.low, other.high - reference)
    up = math.hypot(one.high - mean, reference - other.low)
    difference = mean - reference
    return Interval(max(-1.0, difference - down), min(1.0, difference + up))


def out_of_bag_estimate(
    candidates: Sequence[Sequence[float]],
    *,
    seed: int,
    resamples: int = 500,
    chosen_by: Sequence[Sequence[float]] | None = None,
) -> float:
    """Estimate the score of the best of several candidates on new rows.

    The best candidate is partly the luckiest on the rows that selected it, so its own score is
    optimistic. This is the bootstrap bias correction of Tsamardinos, Greasidou and Borboudakis
    (arXiv 1708.07180, section 3): draw rows with replacement, select the best candidate on them,
    score it on the rows that were not drawn, and average over many draws. As a control variate,
    the overall winner's left-out score is subtracted from each draw and its full score added: the
    expectation is the same, the variance is lower, and a single candidate gets its exact mean.

    Args:
        candidates: each candidate's scores on the same rows, in order of preference: the first of
            several equal candidates is selected.
        chosen_by: the values by which the best was selected, in the same order, if those were not
            the scores.
    """
    sizes = {len(scores) for scores in candidates}
    if len(sizes) != 1 or sizes == {0}:
        raise InputError(
            "an out-of-bag estimate needs one or more candidates scored on the same rows, got "
            f"{[len(scores) for scores in candidates]} scores"
        )
    import numpy as np

    values = candidates if chosen_by is None else chosen_by
    winner = max(range(len(values)), key=lambda i: math.fsum(values[i]))
    table = np.array(candidates, dtype=np.float64)
    chosen_table = table if chosen_by is None else np.array(values, dtype=np.float64)
    rows = sizes.pop()
    # The draws of random.Random(seed).choices, in a third of the time: numpy continues from the
    # state of Python's generator, and both make the same numbers of it.
    _, (*words, position), _ = random.Random(seed).getstate()
    generator = np.random.RandomState()
    generator.set_state(("MT19937", np.array(words, dtype=np.uint32), position, 0, 0.0))
    draws = (generator.random_sample((resamples, rows)) * rows).astype(np.intp)
    # How often each draw has each row: one line for each draw.
    counts = np.array([np.bincount(draw, minlength=rows) for draw in draws])
    # Summed row by row: the order of the additions, and so their rounding and the choice among
    # equal candidates, is the same on every machine.
    totals = np.zeros((resamples, len(candidates)))
    for drawn, scores in zip(counts.T, chosen_table.T, strict=True):
        totals += drawn[:, None] * scores
    gains = table - table[winner]
    shifts = []
    for drawn, chosen in zip(counts, totals.argmax(axis=1), strict=True):
        left_out = gains[chosen][drawn == 0].tolist()
        if left_out:
            shifts.append(math.fsum(left_out) / len(left_out))
    shift = math.fsum(shifts) / max(1, len(shifts))
    return min(1.0, max(0.0, _mean(candidates[winner]) + shift))


@lru_cache(maxsize=1024)
def t_quantile(probability: float, degrees: int) -> float:
    """Compute a quantile of Student's t distribution; `probability` is the cumulative one."""
    if not 0 < probability < 1 or degrees < 1:
        raise InputError(
            f"t_quantile({probability}, {degrees}): expected a probability in (0, 1) and at least "
            "1 degree of freedom"
        )
    if probability < 0.5:
        return -t_quantile(1 - probability, degrees)
    if degrees > 10_000:  # exact to 10 digits (Abramowitz and Stegun, 26.7.5)
        z = NormalDist().inv_cdf(probability)
        return z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
    tail = 2 * (1 - probability)
    low, high = 0.0, 1.0
    while _t_two_tails(high, degrees) > tail:
        low, high = high, high * 2
    while high - low > 1e-14 + 1e-13 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if _t_two_tails(middle, degrees) > tail else (low, middle)
    return (low + high) / 2


def _check(values: Sequence[float], confidence: float, *, low: float) -> None:
    if not values:
        raise InputError("an interval needs at least one value, got none")
    wrong = next((value for value in values if not low <= value <= 1), None)
    if wrong is not None:
        raise InputError(f"expected values in [{low:g}, 1], got {wrong}")
    if not 0 < confidence < 1:
        raise InputError(f"confidence is {confidence}; expected a number in (0, 1) such as 0.95")


def _mean(values: Sequence[float]) -> float:
    # The mean of equal values must be that value; rounding could miss it.
    return min(max(math.fsum(values) / len(values), min(values)), max(values))


def _wilson(share: float, n: int, confidence: float) -> Interval:
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    scale = 1 + z * z / n
    centre = (share + z * z / (2 * n)) / scale
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / scale
    # Exactly, the interval is within [0, 1] and contains the share; rounding may violate that.
    return Interval(min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half)))


def _t_half_width(values: Sequence[float], mean: float, confidence: float) -> float:
    n = len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    return t_quantile((1 + confidence) / 2, n - 1) * math.sqrt(variance / n)


def _t_two_tails(t: float, degrees: int) -> float:
    """Compute P(|T| > t) by the finite series of Abramowitz and Stegun, 26.7.3 and 26.7.4."""
    angle = math.atan2(t, math.sqrt(degrees))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2
    term, total = cosine if odd else 1.0, 0.0
    for power in range(1 + odd, degrees, 2):
        total += term
        term *= cosine * cosine * power / (power + 1)
    return 1 - (2 / math.pi * (angle + sine * total) if odd else sine * total)
