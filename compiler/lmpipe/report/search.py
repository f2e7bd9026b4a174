"""The page's sections on the search: the chart and the table of candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lmpipe.foundation.plural import plural
from lmpipe.report import records
from lmpipe.report.chart_layout import SearchChart, search_chart
from lmpipe.report.run_files import RunFiles
from lmpipe.report.text import (
    NOTHING,
    count,
    money,
    percent,
    percent_range,
    racing_line,
    sentence,
    standing_word,
    tally,
)
from lmpipe.report.view import Cell, Column, RowKind, Table, TableRow, cells

_OPEN_ROWS = 20  # the next ones are folded
_MAX_ROWS = 200  # the rest is in candidates.jsonl

_COLUMNS = (
    Column("#", "number"),
    Column("candidate"),
    Column("validation", "number"),
    Column("failures"),
    Column("LM calls", "number"),
    Column("tokens per run", "number"),
    Column("dollars", "number"),
)


@dataclass(frozen=True)
class Search:
    """How the search went.

    Args:
        stages: what each stage of a portfolio gained, in sentences.
        candidates: the best ones first, and the winner.
        folded: the next ones, if there are more, without the `omitted` ones.
    """

    chart: SearchChart
    legend: str
    stages: tuple[str, ...]
    candidates: Table
    folded: Table | None
    omitted: int


def make_search(run: RunFiles) -> Search | None:
    """Describe the search; None if no candidate was scored."""
    if not run.candidates:
        return None
    ranked = sorted(run.candidates, key=_rank)
    winner = run.manifest.best.number if run.manifest.best else None
    first = ranked[:_OPEN_ROWS]
    first += [item for item in ranked[_OPEN_ROWS:] if item.number == winner]
    folded = [item for item in ranked[_OPEN_ROWS:_MAX_ROWS] if item.number != winner]
    chart = search_chart(run.candidates)
    return Search(
        chart,
        _legend(run, drawn=len(chart.complete) + len(chart.incomplete)),
        tuple(map(sentence, run.stages)),
        _table("Candidates", first, winner),
        _table("More candidates", folded, winner) if folded else None,
        len(ranked) - len(first) - len(folded),
    )


def _table(label: str, items: Sequence[records.Candidate], winner: int | None) -> Table:
    return Table(label, _COLUMNS, tuple(_row(item, winner) for item in items))


def _rank(item: records.Candidate) -> tuple[bool, float, float, int]:
    """Sort complete candidates as the compile compares them."""
    compared = item.score if item.weighted_score is None else item.weighted_score
    return not item.complete, -compared, item.run_tokens or 0.0, item.number


def _legend(run: RunFiles, *, drawn: int) -> str:
    legend = (
        "Each dot is a candidate that was scored on all validation examples; the line is the best "
        "score so far."
    )
    if not all(item.complete for item in run.candidates):
        legend += (
            " A cross is a candidate that was not: its score is of the harder examples, which come "
            "first, and cannot be compared."
        )
    if drawn < len(run.candidates):
        legend += f" {count(drawn)} of {count(len(run.candidates))} candidates are drawn."
    racing = run.manifest.racing
    if racing and racing.saved:
        legend += f" {sentence(racing_line(racing.saved, racing.of))}"
    return legend


def _row(item: records.Candidate, winner: int | None) -> TableRow:
    if item.complete:
        score = Cell(percent(item.score), note=percent_range(item.interval), share=item.score)
    else:
        after = f"after {count(item.examples)} of {plural(item.of, 'example')}"
        score = Cell(standing_word(stopped=item.stopped), note=after)
    kind: RowKind = "best" if item.number == winner else "plain"
    return TableRow(
        cells(
            str(item.number),
            Cell(item.name, note=_learned(item.state.predictors)),
            score,
            Cell(tally(item.failures), note=f"checks: {item.checks}" if item.checks else ""),
            count(item.calls),
            NOTHING if item.run_tokens is None else count(item.run_tokens),
            money(item.usd),
        ),
        kind if item.complete else "dropped",
    )


def _learned(predictors: Mapping[str, records.Learned]) -> str:
    """Describe layout, constraint, lessons and demonstrations; by predictor where they differ."""
    described = {path: _choices(learned) for path, learned in predictors.items()}
    if len(set(described.values())) == 1:
        return next(iter(described.values()))
    return "; ".join(f"{path}: {choices}" for path, choices in described.items())


def _choices(learned: records.Learned) -> str:
    parts = [learned.layout, "constrained" if learned.constrained else "unconstrained"]
    if learned.lessons:
        parts.append(plural(len(learned.lessons), "lesson"))
    if learned.demos or learned.retrieval is None:
        parts.append(plural(len(learned.demos), "demo"))
    if learned.retrieval is not None:
        pool = len(learned.retrieval.pool)
        parts.append(f"{count(learned.retrieval.k)} nearest of {plural(pool, 'demo')}")
    return " · ".join(parts)
