"""The end of the page: what the compile spent, and what it was made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lmpipe.foundation.plural import plural
from lmpipe.report import records
from lmpipe.report.run_files import RunFiles
from lmpipe.report.text import count, money
from lmpipe.report.view import Column, Table, TableRow, cells, present

_COLUMNS = (
    Column("spent by"),
    Column("LM calls", "number"),
    Column("prompt tokens", "number"),
    Column("from the prefix cache", "number"),
    Column("reply tokens", "number"),
    Column("dollars", "number"),
)


@dataclass(frozen=True)
class SpendSection:
    """What the compile spent."""

    table: Table
    notes: tuple[str, ...]


def make_spend(run: RunFiles) -> SpendSection | None:
    """Describe what was spent; None if the compile has not finished."""
    spent = run.manifest.spend
    if spent is None:
        return None
    notes = ["Cached replies count like fresh ones, here and in budgets."]
    if run.fresh is not None:
        price = "price unknown" if run.fresh.usd is None else money(run.fresh.usd)
        notes.append(
            f"Fresh in the last run: {plural(run.fresh.calls, 'LM call')}, "
            f"{plural(run.fresh.tokens, 'token')}, {price}."
        )
    if spent.total.usd is None:
        unknown = ", ".join(name for name, part in spent.by_lm.items() if part.usd is None)
        notes.append(f"The price of {unknown} is unknown: set it with LM(…, price=…).")
    return SpendSection(_spend_table(spent), tuple(notes))


def _spend_table(spent: records.Spend) -> Table:
    rows = []
    groups = (("role", spent.by_role), ("predictor", spent.by_predictor), ("LM", spent.by_lm))
    for title, parts in groups:
        rows.append(TableRow(cells(title), "group"))
        rows.extend(_spend_row(name, part) for name, part in parts.items())
    rows.append(_spend_row("total", spent.total, total=True))
    return Table("Spend by role, predictor and LM", _COLUMNS, tuple(rows))


def _spend_row(name: str, part: records.Tokens, *, total: bool = False) -> TableRow:
    tokens = (part.prompt_tokens, part.cached_prompt_tokens, part.completion_tokens)
    row = cells(name, *map(count, (part.calls, *tokens)), money(part.usd))
    return TableRow(row, "total" if total else "plain")


def make_provenance(run: RunFiles) -> dict[str, Any]:
    """List all that the result depends on, with hashes."""
    manifest = run.manifest
    program, metric = manifest.program, manifest.metric
    budget = {name: limit for name, limit in manifest.budget.items() if limit is not None}
    return present(
        {
            "program": program.file or program.class_,
            "program source": program.source,
            **{
                f"{name} data": f"{plural(part.rows, 'row')}, {part.fingerprint}"
                for name, part in manifest.data.items()
            },
            "metric": f"{metric.name}, {metric.fingerprint}",
            "optimizer": manifest.optimizer.model_dump(),
            "student": manifest.student.model_dump(),
            "teacher": manifest.teacher.model_dump(),
            "judge": manifest.judge and manifest.judge.model_dump(),
            "embedder": manifest.embedder and manifest.embedder.model_dump(),
            "budget": budget or "none",
            "recipe": manifest.recipe,
            "learned state": manifest.best and manifest.best.state,
            "program.json": manifest.artifact,
            "versions": ", ".join(f"{name} {value}" for name, value in manifest.versions.items()),
        }
    )
