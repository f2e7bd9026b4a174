"""The top of the page: what was compiled, and how good the result is."""

from __future__ import annotations

from dataclasses import dataclass

from lmpipe.report import records
from lmpipe.report.chart_layout import ScoreChart, score_chart
from lmpipe.report.run_files import RunFiles
from lmpipe.report.text import (
    correction_line,
    count,
    objectives_line,
    percent,
    percent_range,
    proposals_line,
)
from lmpipe.report.view import Cell, Column, Table, TableRow, cells, compiled_last, present


@dataclass(frozen=True)
class Result:
    """How good the compiled program is.

    Args:
        chart: the final comparison, if there was a test.
        sets: scores on train, validation and test side by side, if two or more are known.
        correction: the validation score, corrected for the selection, or the empty string.
        proposals: how many proposals could not be used, or the empty string.
    """

    chart: ScoreChart | None
    sets: Table | None
    correction: str
    proposals: str


def make_header(run: RunFiles) -> dict[str, str]:
    """List what the compile was made of."""
    manifest = run.manifest
    student, teacher = str(manifest.student), str(manifest.teacher)
    sizes = (
        f"{count(manifest.data[key].rows)} {name}"
        for key, name in (("train", "train"), ("val", "validation"), ("test", "test"))
        if key in manifest.data
    )
    return present(
        {
            "optimizer": manifest.optimizer.name,
            "LM": student,
            "teacher": teacher if teacher != student else "",
            "judge": manifest.judge and str(manifest.judge),
            "embedder": manifest.embedder and str(manifest.embedder),
            "examples": ", ".join(sizes),
            "seed": manifest.seed,
            "metric": manifest.metric.name,
            "objectives": manifest.objectives and objectives_line(manifest.objectives),
        }
    )


def make_result(run: RunFiles) -> Result:
    """Describe the result."""
    best, test = run.manifest.best, run.manifest.test
    winner = next((item for item in run.candidates if best and item.number == best.number), None)
    return Result(
        score_chart(test, compiled_last(test.scores)) if test else None,
        _sets(run.manifest, winner),
        _correction(run, winner),
        _proposals(run.manifest),
    )


def _sets(manifest: records.Manifest, winner: records.Candidate | None) -> Table | None:
    sets = (
        ("train", manifest.train, "learned from these; its own demonstrations are left out"),
        ("validation", winner, "selected on these"),
        ("test", manifest.test and manifest.test.scores["compiled"], "untouched until the end"),
    )
    rows = tuple(
        TableRow(
            cells(
                Cell(name, note=meaning),
                Cell(percent(found.score), share=found.score),
                percent_range(found.interval),
                count(found.examples),
            )
        )
        for name, found, meaning in sets
        if found
    )
    numbers = (Column(name, "number") for name in ("score", "95 % interval", "examples"))
    columns = (Column("compiled program on"), *numbers)
    return Table("Scores by data set", columns, rows) if len(rows) > 1 else None


def _proposals(manifest: records.Manifest) -> str:
    made = manifest.proposals
    return proposals_line(**made.model_dump()) if made and made.unusable else ""


def _correction(run: RunFiles, winner: records.Candidate | None) -> str:
    estimate = run.manifest.validation_estimate
    complete = sum(item.complete for item in run.candidates)
    if estimate is None or winner is None or complete < 2:
        return ""
    return f"{correction_line(winner.score, estimate, complete)} (out-of-bag bootstrap)"
