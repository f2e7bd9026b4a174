"""The figures of an evaluation, added up row by row in the data's order: they need no rows."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from lmpipe.spend import Account

if TYPE_CHECKING:
    from lmpipe.outcome import Failure, Row


class Figures:
    """Scores, failures, parts, times and spend of rows; some 16 bytes for each row.

    Attributes:
        values: the scores, in the data's order.
        seconds: the wall times of the rows.
        failures: how many rows failed, by kind.
        first_failure: the failure of the first row that failed.
        bad_calls: failures of rows in which a predictor was called with wrong inputs.
        parts: sums of the metric's parts.
        account: what the LM calls came to.
    """

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self.values = array("d")
        self.seconds = array("d")
        self.failures: Counter[str] = Counter()
        self.first_failure: Failure | None = None
        self.bad_calls = 0
        self.parts: dict[str, float] = {}
        self.account = Account()
        for row in rows:
            self.add(row)

    def add(self, row: Row) -> None:
        """Add the next row."""
        self.values.append(row.score.value)
        self.seconds.append(row.seconds)
        if row.failure is not None:
            self.failures[row.failure.kind] += 1
            self.first_failure = self.first_failure or row.failure
            self.bad_calls += row.failure.is_bad_call
        for name, value in row.score.parts.items():
            self.parts[name] = self.parts.get(name, 0.0) + value
        if row.calls:
            self.account.add(row.calls)
