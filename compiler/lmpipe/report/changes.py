"""The page's sections on test rows: what the compile made better and worse, and what failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from lmpipe.report.records import TestRow
from lmpipe.report.run_files import RunFiles
from lmpipe.report.text import NOTHING, count, percent
from lmpipe.report.view import Column, Table, TableRow, cells, compiled_last, value_text

# The other rows are in scores.jsonl.
_MAX_ROWS = 25
# Lists of more better rows are folded.
_MAX_OPEN = 12

Pair: TypeAlias = tuple[TestRow, TestRow]


@dataclass(frozen=True)
class ChangedRow:
    """A test row whose score changed: inputs, outputs side by side, failures and feedback."""

    inputs: Mapping[str, Any]
    outputs: Table
    notes: Mapping[str, str]


@dataclass(frozen=True)
class RowList:
    """Rows that changed in one direction; `omitted` rows are left out."""

    kind: Literal["better", "worse"]
    total: int
    opened: bool
    rows: tuple[ChangedRow, ...]

    @property
    def omitted(self) -> int:
        """How many rows are left out."""
        return self.total - len(self.rows)


@dataclass(frozen=True)
class Changes:
    """The test rows whose score changed, the worse ones first."""

    summary: str
    lists: tuple[RowList, ...]


@dataclass(frozen=True)
class Failures:
    """Failures on the test set: counts by program and kind, and the first row of each kind."""

    counts: Table
    first: Mapping[str, TestRow]


def make_changes(run: RunFiles) -> Changes | None:
    """Compare the compiled program with the better baseline row by row; None without a test."""
    test = run.manifest.test
    if test is None or "compiled" not in run.tests:
        return None
    pairs = list(zip(run.tests.get(test.baseline, ()), run.tests["compiled"], strict=False))
    better = [pair for pair in pairs if pair[1].score > pair[0].score]
    worse = [pair for pair in pairs if pair[1].score < pair[0].score]
    same = len(pairs) - len(better) - len(worse)
    outputs = output_names(run)
    lists = (_row_list("worse", worse, outputs), _row_list("better", better, outputs))
    return Changes(
        f"{count(len(better))} better, {count(len(worse))} worse, {count(same)} unchanged, "
        f"compared with the better baseline ({test.baseline}).",
        tuple(item for item in lists if item.rows),
    )


def output_names(run: RunFiles) -> Sequence[str]:
    """Return the fields that a predictor outputs, or that none takes: in an example, the labels."""
    signatures = run.manifest.program.signatures.values()
    taken = {name for signature in signatures for name in signature.inputs}
    given = [name for signature in signatures for name in signature.outputs]
    named = [name for rows in run.tests.values() for row in rows[:1] for name in row.example]
    labels = [name for name in named if name not in taken] if taken & set(named) else []
    return list(dict.fromkeys(given + labels))


def _row_list(
    kind: Literal["better", "worse"], pairs: Sequence[Pair], outputs: Sequence[str]
) -> RowList:
    ranked = sorted(pairs, key=lambda pair: -abs(pair[1].score - pair[0].score))
    rows = tuple(_changed_row(*pair, outputs) for pair in ranked[:_MAX_ROWS])
    opened = kind == "worse" or len(pairs) <= _MAX_OPEN
    return RowList(kind, len(pairs), opened, rows)


def _changed_row(before: TestRow, after: TestRow, outputs: Sequence[str]) -> ChangedRow:
    example = before.example
    notes: dict[str, str] = {}
    for word, row in (("before", before), ("after", after)):
        if row.failure:
            notes[f"failure {word}"] = f"{row.failure.kind}: {row.failure.message}"
        if row.feedback:
            notes[f"feedback {word}"] = row.feedback
    labels = {name: example[name] for name in outputs if name in example}
    sides = {
        "gold": labels,
        f"before, {percent(before.score)}": predicted(before, labels, outputs),
        f"after, {percent(after.score)}": predicted(after, labels, outputs),
    }
    return ChangedRow(
        {name: value for name, value in example.items() if name not in labels},
        _side_by_side(sides),
        notes,
    )


def predicted(row: TestRow, labels: Mapping[str, Any], outputs: Sequence[str]) -> Mapping[str, Any]:
    """Return the predicted outputs by name; a plain value has the name of the only label."""
    if row.failure:
        return {}
    if isinstance(row.prediction, dict):
        # A prediction repeats its inputs; one without known outputs is shown whole.
        known = {name: row.prediction[name] for name in outputs if name in row.prediction}
        return known or row.prediction
    return {next(iter(labels)) if len(labels) == 1 else "prediction": row.prediction}


def _side_by_side(sides: Mapping[str, Mapping[str, Any]]) -> Table:
    names = dict.fromkeys(name for side in sides.values() for name in side)
    rows = (
        cells(
            name,
            *(value_text(side[name], 700) if name in side else NOTHING for side in sides.values()),
        )
        for name in names
    )
    columns = tuple(Column(title) for title in ("output", *sides))
    return Table("Gold and predicted outputs", columns, tuple(map(TableRow, rows)))


def make_failures(run: RunFiles) -> Failures | None:
    """Count the failed test rows by program and kind; None if none failed."""
    counts: Counter[tuple[str, str]] = Counter()
    first: dict[str, TestRow] = {}
    for name, rows in run.tests.items():
        for row in rows:
            if row.failure:
                counts[name, row.failure.kind] += 1
                first.setdefault(row.failure.kind, row)
    if not counts:
        return None
    columns = (Column("program"), *(Column(kind, "number") for kind in first))
    table = tuple(
        TableRow(cells(name, *(count(counts[name, kind]) for kind in first)))
        for name in compiled_last(run.tests)
    )
    return Failures(Table("Failures by program and kind", columns, table), first)
