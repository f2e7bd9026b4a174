"""The front of score against tokens: candidates that none beats for as many tokens or fewer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from lmpipe.report import records
from lmpipe.report.chart_layout import FrontChart, front_chart
from lmpipe.report.run_files import RunFiles
from lmpipe.report.text import count, money, objectives_line, percent

if TYPE_CHECKING:
    from rich.table import Table

C = TypeVar("C", bound=records.Validated)


@dataclass(frozen=True)
class Front:
    """What candidates score, and how many tokens a run of them takes."""

    chart: FrontChart
    legend: str


def front_of(candidates: Sequence[C]) -> list[C]:
    """Return the front, from the fewest tokens of a run to the most.

    Only candidates that were scored on all validation examples can be compared. There is none if
    all of them take equally many tokens.
    """
    known = [item for item in candidates if item.complete and item.run_tokens is not None]
    if len({item.run_tokens for item in known}) < 2:
        return []
    front: list[C] = []
    for item in sorted(known, key=lambda item: (item.run_tokens or 0.0, -item.score, item.number)):
        if not front or item.score > front[-1].score:
            front.append(item)
    return front


def make_front(run: RunFiles) -> Front | None:
    """Describe the front for the page; None if there is none."""
    front = front_of(run.candidates)
    if not front:
        return None
    winner = run.manifest.best.number if run.manifest.best else None
    legend = (
        "Each dot is a candidate that was scored on all validation examples. The line is the "
        "front: no candidate has a higher score for as many tokens or fewer. The ring is the "
        "compiled program. Tokens are those of the prompts and replies of one run, without the "
        "calls of the metric."
    )
    if run.manifest.objectives:
        legend += f" Candidates were compared by {objectives_line(run.manifest.objectives)}."
    return Front(front_chart(run.candidates, front, winner), legend)


def front_table(manifest: records.Manifest) -> Table | None:
    """Make the table of the front for the terminal; None if there is none."""
    from rich.text import Text

    from lmpipe.report.terminal import make_table

    front = front_of(manifest.validation)
    if not front:
        return None
    weighted = ["weighted"] if manifest.objectives else []
    right = ["#", "validation", "tokens per run", "dollars per 1,000 runs", *weighted]
    table = make_table("#", "front of score and tokens", *right[1:], right=right)
    for item in front:
        best = manifest.best is not None and item.number == manifest.best.number
        table.add_row(
            str(item.number),
            Text(item.name, style="bold" if best else ""),
            percent(item.score),
            *_costs(item),
            *([_weighted(item)] if weighted else []),
        )
    return table


def _costs(item: records.Validated) -> list[str]:
    usd = None if item.run_usd is None else 1000 * item.run_usd
    return [count(item.run_tokens or 0.0), money(usd)]


def _weighted(item: records.Validated) -> str:
    return "" if item.weighted_score is None else f"{100 * item.weighted_score:.1f}"
