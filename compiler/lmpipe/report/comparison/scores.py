"""Scores of two programs on the same examples: the paired difference, and rows that changed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Any

from lmpipe.foundation.canonical_json import canonical_json
from lmpipe.foundation.statistics import Interval, mean_interval, paired_interval
from lmpipe.report.records import Sign, TestRow


@dataclass(frozen=True)
class RowPair:
    """An example with its row before and its row after."""

    before: TestRow
    after: TestRow

    @property
    def difference(self) -> float:
        """How much better the row is."""
        return self.after.score - self.before.score

    def to_json(self) -> dict[str, Any]:
        """Return the example with both predictions and scores."""
        sides = {"before": self.before, "after": self.after}
        rows = {
            name: {
                "prediction": row.prediction,
                "score": row.score,
                "failure": row.failure and row.failure.kind,
            }
            for name, row in sides.items()
        }
        return {"example": dict(self.before.example), **rows}


@dataclass(frozen=True)
class ScoreComparison:
    """Two programs on the examples that both were scored on, of which there is at least one.

    Args:
        where: which examples they are, such as `test examples`.
        unpaired: how many rows before, and how many after, are of examples that the other lacks.
    """

    where: str
    pairs: tuple[RowPair, ...]
    unpaired: tuple[int, int] = (0, 0)

    @cached_property
    def scores(self) -> tuple[float, float]:
        """The mean scores before and after."""
        before = fmean(pair.before.score for pair in self.pairs)
        return before, fmean(pair.after.score for pair in self.pairs)

    @cached_property
    def intervals(self) -> tuple[Interval, Interval]:
        """The 95 % intervals of the mean scores."""
        before = mean_interval([pair.before.score for pair in self.pairs])
        return before, mean_interval([pair.after.score for pair in self.pairs])

    @cached_property
    def difference(self) -> float:
        """The mean difference, after minus before."""
        return fmean(pair.difference for pair in self.pairs)

    @cached_property
    def interval(self) -> Interval:
        """The paired 95 % interval of the difference."""
        return paired_interval([pair.difference for pair in self.pairs])

    @property
    def verdict(self) -> Sign:
        """On which side of zero the whole interval is."""
        return "good" if self.interval.low > 0 else "bad" if self.interval.high < 0 else "unsure"

    @cached_property
    def better(self) -> tuple[RowPair, ...]:
        """The rows that are better after, those that changed most first."""
        found = [pair for pair in self.pairs if pair.difference > 0]
        return tuple(sorted(found, key=lambda pair: -pair.difference))

    @cached_property
    def worse(self) -> tuple[RowPair, ...]:
        """The rows that are worse after, those that changed most first."""
        found = [pair for pair in self.pairs if pair.difference < 0]
        return tuple(sorted(found, key=lambda pair: pair.difference))

    @property
    def same(self) -> int:
        """How many rows have the same score."""
        return len(self.pairs) - len(self.better) - len(self.worse)

    def to_json(self, *, rows: bool = True) -> dict[str, Any]:
        """Return it as JSON; with `rows`, all rows that changed."""
        before, after = self.intervals
        values: dict[str, Any] = {
            "examples": len(self.pairs),
            "of": self.where,
            "unpaired": list(self.unpaired),
            "before": {"score": self.scores[0], "interval": [before.low, before.high]},
            "after": {"score": self.scores[1], "interval": [after.low, after.high]},
            "difference": self.difference,
            "interval": [self.interval.low, self.interval.high],
            "better": len(self.better),
            "worse": len(self.worse),
            "same": self.same,
        }
        if rows:
            values["better_rows"] = [pair.to_json() for pair in self.better]
            values["worse_rows"] = [pair.to_json() for pair in self.worse]
        return values


def compare_rows(
    before: Sequence[TestRow], after: Sequence[TestRow], where: str
) -> ScoreComparison | None:
    """Pair the rows of the same examples, labels included; None if there is no such pair."""
    pairs = tuple(RowPair(*rows) for rows in same_examples([before, after]))
    if not pairs:
        return None
    return ScoreComparison(where, pairs, (len(before) - len(pairs), len(after) - len(pairs)))


def same_examples(programs: Sequence[Sequence[TestRow]]) -> list[tuple[TestRow, ...]]:
    """Put the rows of several programs on the same examples together, in the first one's order.

    An example that comes several times is taken as often as all programs have it.
    """
    waiting = [_by_example(rows) for rows in programs[1:]]
    found = []
    for row in programs[0]:
        key = _key(row.example)
        if all(other.get(key) for other in waiting):
            found.append((row, *(other[key].pop() for other in waiting)))
    return found


def _by_example(rows: Sequence[TestRow]) -> dict[bytes, list[TestRow]]:
    found: dict[bytes, list[TestRow]] = defaultdict(list)
    for row in reversed(rows):
        found[_key(row.example)].append(row)
    return found


def _key(example: Mapping[str, Any]) -> bytes:
    try:
        return canonical_json(dict(example))
    except TypeError:  # an integer of more than 64 bits, or text that is not valid Unicode
        return repr(sorted(example.items())).encode(errors="backslashreplace")
