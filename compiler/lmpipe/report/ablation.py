"""Which part of the result did it: a sentence, a table for the terminal and the page, a chart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lmpipe.foundation.plural import plural
from lmpipe.report import records
from lmpipe.report.chart_layout import EffectChart, effect_chart
from lmpipe.report.run_files import RunFiles
from lmpipe.report.text import (
    NOTHING,
    percent,
    points,
    points_range,
    sentence,
    signed_count,
)
from lmpipe.report.view import Cell, Column, Table, TableRow, cells


@dataclass(frozen=True)
class AblationSection:
    """The section of the page; without chart and table if the budget was too small."""

    summary: str
    chart: EffectChart | None
    table: Table | None
    notes: Sequence[str]


def make_ablation(run: RunFiles) -> AblationSection | None:
    """Describe the ablation; None if there was none."""
    found = run.manifest.ablation
    if found is None:
        return None
    summary = sentence(ablation_line(found))
    if not found.parts:
        return AblationSection(summary, None, None, ())
    return AblationSection(
        summary, effect_chart(found.parts), ablation_table(found), ablation_notes(found)
    )


def ablation_line(ablation: records.Ablation) -> str:
    """Answer in one sentence what did it, and what can be left out."""
    if not ablation.parts:
        return f"not known: {ablation.incomplete}"
    named: dict[str, list[str]] = {}
    for part in sorted(ablation.parts, key=lambda part: -part.without.deciding):
        named.setdefault(part.without.verdict, []).append(
            f"{part.name} {points(part.without.deciding)}"
        )
    did = named.pop("needed", None)
    unit = "points with costs weighed" if _weighs(ablation) else "points"
    lines = [f"{', '.join(did)} {unit}" if did else "no single part for certain"]
    return "; ".join([*lines, *(f"{verdict}: {', '.join(of)}" for verdict, of in named.items())])


def ablation_table(ablation: records.Ablation) -> Table:
    """Tabulate what each part adds; parts alone only if that was tried.

    If the recipe has objectives, a column has the differences that the verdicts go by.
    """
    tried_alone = any(part.alone is not None for part in ablation.parts)
    columns = [Column("part"), Column("without it", "number"), Column("it adds", "number")]
    weighs = _weighs(ablation)
    if weighs:
        columns.append(Column("with costs weighed", "number"))
    if tried_alone:
        columns.append(Column("alone it adds", "number"))
    columns += [Column("prompt tokens", "number"), Column("", "short")]
    rows = []
    for part in ablation.parts:
        effects: list[records.Effect | records.Weighted | None] = [part.without]
        effects += [part.without.weighted] if weighs else []
        effects += [part.alone] if tried_alone else []
        rows.append(
            TableRow(
                cells(
                    Cell(part.name, note=part.learned),
                    Cell(percent(part.without.score), share=part.without.score),
                    *map(_effect_cell, effects),
                    signed_count(part.without.prompt_tokens),
                    part.without.verdict,
                )
            )
        )
    return Table("What each part adds", tuple(columns), tuple(rows))


def ablation_notes(ablation: records.Ablation) -> list[str]:
    """Explain the table, and say what is missing."""
    examples = plural(ablation.parts[0].without.examples, "validation example")
    notes = [
        f"The whole result scores {percent(ablation.score)} on {examples}. A part adds as many "
        "points as the score is lower with only this part set back to the declared program (paired "
        "95 % interval), and as many prompt tokens to a run. These examples also chose the result, "
        "so the gains are somewhat too high."
    ]
    if _weighs(ablation):
        notes.append("The verdicts go by the weighted scores, as the choice of the result did.")
    if len(ablation.parts) > 1:
        notes.append("Parts work together, so the gains need not add up to the whole gain.")
    return [*notes, *filter(None, [sentence(ablation.incomplete)])]


def _weighs(ablation: records.Ablation) -> bool:
    return any(part.without.weighted is not None for part in ablation.parts)


def _effect_cell(effect: records.Effect | records.Weighted | None) -> Cell:
    if effect is None:
        return Cell(NOTHING)
    return Cell(points(effect.difference), note=points_range(effect.interval))
