"""The sections of the page of several runs: scores, search curves, and what differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmpipe.compiling.run_folder import read_manifest
from lmpipe.foundation.plural import plural
from lmpipe.report.chart_layout import (
    Scale,
    SpendAxis,
    improvements,
    score_scale,
    spend_axes,
)
from lmpipe.report.comparison.scores import ScoreComparison, compare_rows, same_examples
from lmpipe.report.comparison.settings import compare_settings, other_scorers
from lmpipe.report.comparison.states import Change, PredictorChanges, compare_states, reducing
from lmpipe.report.records import Candidate, Scores
from lmpipe.report.rows import RowBrowser, ScoredSide, compiled_rows, compiled_side, pack_rows
from lmpipe.report.run_files import RunFiles, read_run
from lmpipe.report.text import (
    NOTHING,
    count,
    duration,
    money,
    percent,
    percent_range,
    points,
    points_range,
)
from lmpipe.report.view import Cell, Column, Table, TableRow, cells

_COLOURS = 8
_VERDICTS = {"good": "better", "bad": "worse", "unsure": "not certain"}


@dataclass(frozen=True)
class NamedRun:
    """A run on the page: a letter, the name of its folder, and one of the colours."""

    letter: str
    colour: int
    run: RunFiles
    made_of: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.run.folder.resolve().name

    @property
    def scores(self) -> tuple[Scores | None, Scores | None]:
        """The scores of the better baseline and of the compiled program on the test set."""
        test = self.run.manifest.test
        return (test.scores[test.baseline], test.scores["compiled"]) if test else (None, None)


@dataclass(frozen=True)
class ScoresChart:
    """Test scores with their intervals by run, and the baselines'."""

    scale: Scale
    runs: Sequence[NamedRun]


@dataclass(frozen=True)
class Curve:
    """The best validation scores so far of a run, up to what it spent in all."""

    run: NamedRun
    improvements: Sequence[Candidate]
    last: Candidate


@dataclass(frozen=True)
class CurvesChart:
    """The searches of all runs against what each had spent until then."""

    axes: Sequence[SpendAxis]
    y: Scale
    curves: Sequence[Curve]


@dataclass(frozen=True)
class LearnedChanges:
    """What a run learned otherwise than the first one."""

    run: NamedRun
    ensemble: Change | None
    predictors: Sequence[PredictorChanges]


def name_runs(folders: Sequence[Path]) -> list[NamedRun]:
    """Read run folders, and give each a letter and a colour.

    Raises:
        ArtifactError: if one is not a run folder, or a file of it is damaged.
    """
    runs = []
    for place, folder in enumerate(folders):
        letter = chr(ord("A") + place) if place < 26 else str(place + 1)
        run = read_run(folder)
        runs.append(NamedRun(letter, place % _COLOURS, run, read_manifest(folder)))
    return runs


def make_scores(runs: Sequence[NamedRun]) -> ScoresChart | None:
    """Lay out the test scores; None if no run was tested."""
    tested = [run for run in runs if run.run.manifest.test]
    ends = [end for run in tested for item in run.scores if item for end in item.interval]
    return ScoresChart(score_scale(ends), tested) if ends else None


def make_overview(runs: Sequence[NamedRun]) -> Table:
    """Tabulate what each run is, what it scores and what it cost."""
    columns = (
        Column("run"),
        Column("optimizer", "short"),
        Column("LM"),
        Column("test score", "number"),
        Column("over its baseline", "number"),
        Column("LM calls", "number"),
        Column("tokens", "number"),
        Column("dollars", "number"),
        Column("time", "number"),
    )
    return Table("Runs", columns, tuple(map(_overview_row, runs)))


def _overview_row(named: NamedRun) -> TableRow:
    manifest = named.run.manifest
    test, spend = manifest.test, manifest.spend
    compiled = named.scores[1]
    total = spend.total if spend else None
    tokens = total.prompt_tokens + total.completion_tokens if total else 0
    status = "" if manifest.status == "done" else f" ({manifest.status})"
    return TableRow(
        cells(
            Cell(named.letter, note=named.name + status),
            manifest.optimizer.name,
            str(manifest.student),
            Cell(percent(compiled.score), note=percent_range(compiled.interval))
            if compiled
            else NOTHING,
            Cell(points(test.difference), note=points_range(test.interval)) if test else NOTHING,
            count(total.calls) if total else NOTHING,
            count(tokens) if total else NOTHING,
            money(total.usd) if total else NOTHING,
            NOTHING if manifest.seconds is None else duration(manifest.seconds),
        )
    )


def compare_with_first(runs: Sequence[NamedRun]) -> list[tuple[NamedRun, ScoreComparison | None]]:
    """Compare each later run with the first one, on the examples and by the metric of both."""
    first = runs[0]
    return [
        (
            named,
            compare_rows(compiled_rows(first.run), compiled_rows(named.run), "examples")
            if _comparable(first, named)
            else None,
        )
        for named in runs[1:]
    ]


def _comparable(one: NamedRun, other: NamedRun) -> bool:
    same_set = (one.run.manifest.test is None) == (other.run.manifest.test is None)
    return same_set and not other_scorers([one.made_of, other.made_of])


def make_differences(compared: Sequence[tuple[NamedRun, ScoreComparison | None]]) -> Table:
    """Tabulate the paired differences from the first run."""
    titles = ("examples", "difference", "better", "worse", "unchanged")
    columns = (Column("run"), *(Column(title, "number") for title in titles), Column("", "short"))
    rows = []
    for named, found in compared:
        name = Cell(named.letter, note=named.name)
        if found is None:
            rows.append(TableRow(cells(name, *[NOTHING] * 5, "not comparable"), "dropped"))
            continue
        interval = (found.interval.low, found.interval.high)
        numbers = (len(found.better), len(found.worse), found.same)
        rows.append(
            TableRow(
                cells(
                    name,
                    count(len(found.pairs)),
                    Cell(points(found.difference), note=points_range(interval)),
                    *map(count, numbers),
                    _VERDICTS[found.verdict] if found.same < len(found.pairs) else "the same",
                )
            )
        )
    return Table("Paired differences from the first run", columns, tuple(rows))


def make_curves(runs: Sequence[NamedRun]) -> CurvesChart | None:
    """Lay out the searches on one chart; None if no candidate was scored on all examples."""
    curves: list[Curve] = []
    every: list[Candidate] = []
    for named in runs:
        complete = [item for item in named.run.candidates if item.complete]
        if complete:
            last = max(named.run.candidates, key=lambda item: item.spent)
            curves.append(Curve(named, tuple(improvements(complete)), last))
            every += named.run.candidates
    if not curves:
        return None
    scores = [item.score for curve in curves for item in curve.improvements]
    return CurvesChart(spend_axes(every), score_scale(scores), curves)


def make_settings(runs: Sequence[NamedRun]) -> Table | None:
    """Tabulate the settings in which the runs differ; None if there are none."""
    settings = compare_settings([named.made_of for named in runs])
    columns = (Column("setting"), *(Column(named.letter) for named in runs))
    rows = tuple(TableRow(cells(setting.name, *setting.values)) for setting in settings)
    return Table("Settings that differ", columns, rows) if rows else None


def make_learned_changes(runs: Sequence[NamedRun]) -> list[LearnedChanges]:
    """Compare what each later run learned with the first one."""
    first = runs[0].run.state
    return [
        LearnedChanges(
            named,
            reducing(first, named.run.state),
            tuple(compare_states(first, named.run.state).values()),
        )
        for named in runs[1:]
        if first is not None and named.run.state is not None
    ]


def make_row_browser(runs: Sequence[NamedRun]) -> RowBrowser | None:
    """Pack the rows on the examples that all runs were scored on; None if there are none."""
    if not all(_comparable(runs[0], named) for named in runs):
        return None
    rows = same_examples([compiled_rows(named.run) for named in runs])
    sides: list[ScoredSide] = [compiled_side(named.run, named.letter) for named in runs]
    kind = "test" if runs[0].run.manifest.test else "validation"
    return pack_rows(rows, sides, kind)


def caveats(runs: Sequence[NamedRun]) -> list[str]:
    """Say what stands against comparing the runs."""
    manifests = [named.run.manifest for named in runs]
    notes = []
    if different := other_scorers([named.made_of for named in runs]):
        notes.append(
            f"The runs were scored by different {different}: their scores cannot be compared."
        )
    tests = {data.fingerprint for m in manifests if (data := m.data.get("test"))}
    if len(tests) > 1:
        notes.append(
            "The runs have different test sets: only the paired differences, on the examples that "
            "they share, can be compared."
        )
    untested = [named.letter for named in runs if named.run.manifest.test is None]
    if untested:
        runs_named = plural(len(untested), "run")
        notes.append(f"{runs_named} not tested on untouched examples: {', '.join(untested)}.")
    return notes
