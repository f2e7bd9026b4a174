"""The result of an evaluation: rows, failures, and their totals."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

from lmpipe.data.example import Example
from lmpipe.evaluation.row_files import check_rows_file, write_rows
from lmpipe.foundation.plural import plural
from lmpipe.foundation.statistics import Interval, mean_interval
from lmpipe.lm.call import Call
from lmpipe.lm.spend import Account
from lmpipe.metrics import Score
from lmpipe.signatures.signature import result_to_json
from lmpipe.state.trace import CheckCounts, Trace
from lmpipe.state.usage import Usage

FailureKind = Literal[
    "output", "check", "cut", "refusal", "program", "metric", "request", "deadline"
]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an example could not be scored.

    An unavailable LM stops the evaluation; it does not fail the example.

    Args:
        kind: `output` (no reply could be parsed), `check` (no answer passed a check), `cut` (the
            reply ended at the limit of tokens), `refusal` (the LM declined to answer), `program`
            (the program's code raised), `metric` (the metric raised), `request` (the LM's server
            refused this request, for example because it is too long) or `deadline` (the row took
            longer than its `row_timeout`).
        message: the error in one line.
        raw: the text of the reply for `output`, `check`, `cut` and `refusal`, the traceback for
            `program` and `metric`.
    """

    kind: FailureKind
    message: str
    raw: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """The result of one example.

    Args:
        index: its position in the data, from 0.
        example: the example.
        prediction: what the program returned, or None.
        score: the metric's score; 0 if the row failed.
        failure: why the row failed, or None.
        trace: the predictor calls of the program.
        calls: the LM calls, including those of the metric.
        seconds: the wall time of the row, with waiting for the LMs' limits.
    """

    index: int
    example: Example
    prediction: Any
    score: Score
    failure: Failure | None
    trace: Trace
    calls: tuple[Call, ...]
    seconds: float

    @property
    def replies(self) -> tuple[str, ...]:
        """The texts of the LM's replies, in order."""
        return tuple(reply for step in self.trace.steps for reply in step.replies)

    @property
    def checks(self) -> CheckCounts:
        """How many answers of the program failed a check, and what became of them."""
        return self.trace.checks

    def times(self) -> tuple[float, float]:
        """Return how long the row took without waiting for limits and retries, and its waits.

        Both are in seconds. Calls that waited at the same time count their waits separately, so
        for a program that makes several at once the first is at least the longest call.
        """
        waited = longest = 0.0
        for call in self.calls:
            if not call.reply.cached:
                waited += call.waited
                longest = max(longest, call.reply.seconds)
        return max(self.seconds - waited, longest), waited

    def to_json(self) -> dict[str, Any]:
        """Return the row for files, without times: equal replies give equal rows."""
        checks = {"checks": self.checks.to_json()} if self.checks else {}
        said = dict(self.score.predictor_feedback)
        return {
            "index": self.index,
            "example": self.example.to_json(),
            "prediction": result_to_json(self.prediction),
            "score": self.score.value,
            "parts": dict(self.score.parts),
            "feedback": self.score.feedback,
            **({"predictor_feedback": said} if said else {}),
            "failure": asdict(self.failure) if self.failure else None,
            "replies": list(self.replies),
            **checks,
        }


class Totals:
    """Scores, failures, parts, times and spend, added up row by row; 24 bytes for each row.

    Attributes:
        failures: how many rows failed, by kind.
        bad_calls: how many rows failed because a predictor was called with invalid inputs.
        parts: the sums of the metric's parts.
        checks: how many answers failed a check, and what became of them.
    """

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self.values = array("d")
        self.service = array("d")
        self.waited = array("d")
        self.failures: Counter[str] = Counter()
        self.first_failure: Failure | None = None
        self.bad_calls = 0
        self.parts: dict[str, float] = {}
        self.checks = CheckCounts()
        self.account = Account()
        for row in rows:
            self.add(row)

    def add(self, row: Row) -> None:
        """Add the next row."""
        self.values.append(row.score.value)
        service, waited = row.times()
        self.service.append(service)
        self.waited.append(waited)
        if row.failure is not None:
            kind, message = row.failure.kind, row.failure.message
            self.failures[kind] += 1
            self.first_failure = self.first_failure or row.failure
            self.bad_calls += kind == "program" and message.startswith("CallError: ")
        for name, value in row.score.parts.items():
            self.parts[name] = self.parts.get(name, 0.0) + value
        if checks := row.checks:
            self.checks += checks
        if row.calls:
            self.account.add(row.calls)


@dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation.

    Args:
        rows: one for each example, in the data's order. With `save_to` they are read from the
            file on access; see `stored_rows.StoredRows`.
        seconds: the wall time of the evaluation.
        totals: the totals of the rows, if they were added up already.
    """

    rows: Sequence[Row]
    seconds: float = 0.0
    totals: Totals | None = field(default=None, repr=False, compare=False)

    @cached_property
    def _totals(self) -> Totals:
        return self.totals or Totals(self.rows)

    @cached_property
    def score(self) -> float:
        """The mean score, in [0, 1]; failed examples count as 0."""
        return sum(self._totals.values) / len(self.rows)

    @property
    def values(self) -> tuple[float, ...]:
        """Scores in the data's order."""
        return tuple(self._totals.values)

    @cached_property
    def interval(self) -> Interval:
        """The 95 % interval of the mean score."""
        return mean_interval(self._totals.values)

    @property
    def failures(self) -> dict[FailureKind, int]:
        """How many examples failed, by kind."""
        return cast("dict[FailureKind, int]", dict(self._totals.failures))

    @property
    def checks(self) -> CheckCounts:
        """How many answers failed a check, and how many of them were mended."""
        return self._totals.checks

    @property
    def parts(self) -> dict[str, float]:
        """The means of the metric's parts."""
        return {name: value / len(self.rows) for name, value in self._totals.parts.items()}

    @property
    def spend(self) -> Account:
        """Calls, tokens and dollars: in total, by role, by predictor and by LM."""
        return self._totals.account

    @property
    def usage(self) -> Usage:
        """The tokens of all calls, cached or not."""
        return self.spend.total.usage

    @property
    def calls(self) -> int:
        """The number of LM calls, cached or not, including those of the metric."""
        return self.spend.total.calls

    @property
    def fresh_calls(self) -> int:
        """The number of LM calls that reached the LM."""
        return self.spend.total.fresh_calls

    @property
    def usd(self) -> float | None:
        """The price of all calls, cached or not; None if the price of an LM is unknown."""
        return self.spend.total.usd

    def latency(self, share: float = 0.5) -> float:
        """Return the time within which this share of the examples ended, in seconds.

        It does not include waiting for the LMs' limits and for retries, which depends on how many
        examples run at a time; see `waiting`.

        Args:
            share: the quantile, in [0, 1]; 0.5 is the median.
        """
        return _quantile(self._totals.service, share)

    def waiting(self, share: float = 0.5) -> float:
        """Return for how long this share of the examples waited at most; see `latency`."""
        return _quantile(self._totals.waited, share)

    def save(self, path: str | Path) -> None:
        """Write the rows to a file, one line each.

        Args:
            path: a name that ends in `.jsonl` or `.csv`.

        Raises:
            DataError: if the name has another ending, or the folder does not exist.
        """
        check_rows_file(Path(path))
        write_rows(Path(path), self.rows)

    def __repr__(self) -> str:
        return f"<Evaluation {self}>"

    def __str__(self) -> str:
        failures = ", ".join(f"{count} {kind}" for kind, count in self.failures.items())
        checks = f"checks: {self.checks}, " if self.checks else ""
        return (
            f"{self.score:.1%} ({self.interval.low:.1%} to {self.interval.high:.1%}) on "
            f"{plural(len(self.rows), 'example')}, failures: {failures or 'none'}, {checks}"
            f"{plural(self.calls, 'LM call')}"
        )

    def summary(self) -> dict[str, Any]:
        """Return the scores, failures and spend as JSON."""
        return {
            "score": self.score,
            "interval": [self.interval.low, self.interval.high],
            "examples": len(self.rows),
            "failures": dict(self.failures),
            **({"checks": self.checks.to_json()} if self.checks else {}),
            "parts": self.parts,
            "calls": self.calls,
            "tokens": self.usage.tokens,
            "usd": self.usd,  # null: the price is unknown
        }


def _quantile(times: Sequence[float], share: float) -> float:
    ordered = sorted(times)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]
