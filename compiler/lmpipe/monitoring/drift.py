"""`find_drift`: whether served inputs leave what a program was compiled on.

For each input, a limit is the k-th highest of n scores of the compile's inputs. If served inputs
are like those, the number of m of them above the limit has a beta-binomial distribution with the
parameters k and n + 1 - k, whatever the scores are (Wilks, "Determination of Sample Sizes for
Setting Tolerance Limits", 1941; as conformal p-values in Bates et al., arXiv 2104.08279). So its
tail is the probability of a false alarm, also if the compile had few inputs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lmpipe.monitoring.input_profile import InputProfile, Limit

_LEVEL = 0.001  # probability of a false alarm, over all limits of a program
_LEAST = 2.0  # times the expected share; below it, the run need not be compiled again
_MOST = 20_000  # inputs that are counted; more are taken as a share of these

_WHAT = {
    "words": "have words in `{field}` that the compile's data lack",
    "length": "have a `{field}` of another length than the compile's data",
    "number": "have a `{field}` far from the compile's data",
}


@dataclass(frozen=True, slots=True)
class Counted:
    """How many inputs were served that have a field, and how many of them exceed a limit."""

    served: int = 0
    exceeding: int = 0

    def __add__(self, other: Counted) -> Counted:
        return Counted(self.served + other.served, self.exceeding + other.exceeding)

    def to_json(self) -> list[int]:
        """Return both numbers."""
        return [self.served, self.exceeding]

    @staticmethod
    def from_json(value: Sequence[Any]) -> Counted:
        """Read what `to_json` wrote; raise a ValueError for numbers that cannot be counts."""
        served, exceeding = map(int, value)
        if not 0 <= exceeding <= served:
            raise ValueError(f"{exceeding} of {served} inputs exceed a limit")
        return Counted(served, exceeding)


@dataclass(frozen=True, slots=True)
class Drift:
    """Served inputs that are not like those of the compile.

    Args:
        field: the input.
        kind: what of it is different: `words`, `length` or `number`.
        share: the share of served inputs that exceed the limit.
        expected: the share of inputs like the compile's that do.
        served: the number of served inputs.
        probability: that of this or more, if they were like the compile's.
    """

    field: str
    kind: str
    share: float
    expected: float
    served: int
    probability: float

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {name: getattr(self, name) for name in self.__slots__}

    def __str__(self) -> str:
        what = _WHAT[self.kind].format(field=self.field)
        served = f"{self.share:.0%} of {self.served:,} served inputs"
        return f"{served} {what} ({self.expected:.0%} expected)"


def find_drift(profile: InputProfile, counts: Mapping[str, Counted]) -> Drift | None:
    """Return the strongest sign that served inputs leave those of the compile, or None.

    A false alarm has a probability of at most 0.001 each time that this is asked, and a share
    below twice the expected one raises none.
    """
    found: list[Drift] = []
    for name, limit in profile.limits.items():
        counted = counts.get(name)
        if counted is None or not counted.served:
            continue
        share, expected = counted.exceeding / counted.served, limit.above / (limit.rows + 1)
        probability = exceedance_probability(limit, counted)
        if probability <= _LEVEL / len(profile.limits) and share >= _LEAST * expected:
            field = name.removesuffix(f" {limit.kind}")
            found.append(Drift(field, limit.kind, share, expected, counted.served, probability))
    # Of equal signs, new words say more than lengths.
    return min(found, key=lambda drift: (drift.probability, drift.kind != "words"), default=None)


def exceedance_probability(limit: Limit, counted: Counted) -> float:
    """Return the probability of so many inputs above a limit, or more, without drift."""
    served, exceeding = counted.served, counted.exceeding
    if served > _MOST:
        exceeding, served = math.floor(exceeding * _MOST / served), _MOST
    if exceeding <= 0:
        return 1.0
    first, second = limit.above, limit.rows + 1 - limit.above
    term = math.exp(
        _log_choose(served, exceeding)
        + _log_beta(exceeding + first, served - exceeding + second)
        - _log_beta(first, second)
    )
    total = 0.0
    for number in range(exceeding, served + 1):
        total += term
        if number < served:
            term *= (served - number) / (number + 1)
            term *= (number + first) / (served - number - 1 + second)
            if number > exceeding + 100 and term < 1e-12 * total:
                break
    return min(1.0, total)


def _log_choose(of: int, number: int) -> float:
    return math.lgamma(of + 1) - math.lgamma(number + 1) - math.lgamma(of - number + 1)


def _log_beta(first: float, second: float) -> float:
    return math.lgamma(first) + math.lgamma(second) - math.lgamma(first + second)
