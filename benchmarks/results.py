"""The result rows of the benchmark: medians, ratios and goals, as a table and as JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from import_cost import SUBJECTS, ImportCost
from plan import Figure, Measurement, SideName
from processes import HERE

Round = Mapping[str, Any]
Rounds = Mapping[SideName, Sequence[Round]]

_IMPORT_GOAL = 1.3
_MEMORY_GOAL_MB = 60.0


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Args:
        title: the measurement.
        unit: the unit of the figures.
        digits: the decimal places of the figures.
        lmpipe: the median of lmpipe's rounds.
        dspy: the median of DSPy's rounds, or None.
        ratio: how many times better lmpipe is than DSPy, or None.
        cpu_ratio: how many times less CPU time lmpipe takes; more reliable on a busy machine.
        aiohttp: the median of a bare aiohttp client, or None.
        limit: the median of the fastest bare client, or None.
        goal: the goal, in words.
        reached: whether the goal was reached; None without a goal or a figure.
    """

    title: str
    unit: str
    digits: int
    lmpipe: float
    dspy: float | None = None
    ratio: float | None = None
    cpu_ratio: float | None = None
    aiohttp: float | None = None
    limit: float | None = None
    goal: str = ""
    reached: bool | None = None


def rows_of(measurement: Measurement, rounds: Rounds) -> list[Row]:
    """Return the rows of one measurement."""
    return [_row(measurement, figure, rounds) for figure in measurement.figures]


def _row(measurement: Measurement, figure: Figure, rounds: Rounds) -> Row:
    medians = {
        side: statistics.median(one[figure.key] for one in done) for side, done in rounds.items()
    }
    lmpipe, dspy = medians[measurement.ours], medians.get("dspy")
    ratio = _ratio(lmpipe, dspy, higher=figure.higher)
    return Row(
        title=figure.title.format(calls=measurement.calls),
        unit=figure.unit,
        digits=figure.digits,
        lmpipe=lmpipe,
        dspy=dspy,
        ratio=ratio,
        cpu_ratio=_cpu_ratio(figure, measurement.ours, rounds),
        aiohttp=medians.get("aiohttp"),
        limit=medians.get("sockets") or medians.get("diskcache"),
        goal=f">= {figure.goal:g} x DSPy" if figure.goal else "",
        reached=ratio >= figure.goal if figure.goal and ratio else None,
    )


def _ratio(lmpipe: float, dspy: float | None, *, higher: bool) -> float | None:
    best, other = (lmpipe, dspy) if higher else (dspy, lmpipe)
    return best / other if best and other else None


def _cpu_ratio(figure: Figure, ours: SideName, rounds: Rounds) -> float | None:
    share = figure.key.replace("per_second", "cpu_share")
    if share == figure.key or "dspy" not in rounds:
        return None
    lmpipe, dspy = (
        statistics.median(one[share] / one[figure.key] for one in rounds[side])
        for side in (ours, "dspy")
    )
    return _ratio(lmpipe, dspy, higher=False)


def import_rows(costs: Mapping[str, ImportCost]) -> list[Row]:
    """Return the rows of the import costs; the limit is the cost of pydantic alone."""
    ready = _cost_rows(SUBJECTS["lmpipe-ready"].title, costs, "-ready", None)
    return [*_cost_rows(SUBJECTS["lmpipe"].title, costs, "", _IMPORT_GOAL), *ready]


def _cost_rows(
    title: str, costs: Mapping[str, ImportCost], kind: str, goal: float | None
) -> list[Row]:
    cost, limit, dspy = costs[f"lmpipe{kind}"], costs[f"pydantic{kind}"], costs.get(f"dspy{kind}")
    return [
        Row(
            title=title,
            unit="ms",
            digits=1,
            lmpipe=cost.milliseconds,
            dspy=dspy.milliseconds if dspy else None,
            ratio=_ratio(cost.milliseconds, dspy.milliseconds if dspy else None, higher=False),
            limit=limit.milliseconds,
            goal=f"<= {goal} x limit" if goal else "",
            reached=cost.milliseconds <= goal * limit.milliseconds if goal else None,
        ),
        Row(
            title=f"{title}: memory",
            unit="MB",
            digits=1,
            lmpipe=cost.megabytes,
            dspy=dspy.megabytes if dspy else None,
            ratio=_ratio(cost.megabytes, dspy.megabytes if dspy else None, higher=False),
            limit=limit.megabytes,
            goal=f"<= {_MEMORY_GOAL_MB:g} MB",
            reached=cost.megabytes <= _MEMORY_GOAL_MB,
        ),
    ]


_HEADINGS = ("", "lmpipe", "DSPy", "ratio", "by CPU", "aiohttp", "limit", "unit", "goal", "")
_TEXTS = (0, 7, 8, 9)  # the columns with text


def print_table(rows: Sequence[Row]) -> None:
    """Print the rows, with colours on a terminal."""
    cells = [_cells(row) for row in rows]
    if sys.stdout.isatty():
        _print_in_colour(cells)
        return
    widths = [max(map(len, column)) for column in zip(_HEADINGS, *cells, strict=True)]
    for line in (_HEADINGS, *cells):
        padded = (
            cell.ljust(width) if index in _TEXTS else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        print("  ".join(padded).rstrip())


def _print_in_colour(cells: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Column, Table

    columns = (
        Column(heading, justify="left" if index in _TEXTS else "right", no_wrap=index > 0)
        for index, heading in enumerate(_HEADINGS)
    )
    table = Table(*columns)
    for line in cells:
        style = {"reached": "green", "missed": "red"}.get(line[-1])
        table.add_row(*line, style=style)
    Console().print(table)


def _cells(row: Row) -> tuple[str, ...]:
    def number(value: float | None) -> str:
        return "" if value is None else f"{value:,.{row.digits}f}"

    def times(ratio: float | None) -> str:
        return "" if ratio is None else f"{ratio:.1f} x"

    verdict = {True: "reached", False: "missed", None: ""}[row.reached]
    return (
        row.title,
        number(row.lmpipe),
        number(row.dspy),
        times(row.ratio),
        times(row.cpu_ratio),
        number(row.aiohttp),
        number(row.limit),
        row.unit,
        row.goal,
        verdict,
    )


def write_json(path: Path, rows: Sequence[Row], details: Mapping[str, Any]) -> None:
    """Write the table, the machine and all measurements."""
    path.parent.mkdir(parents=True, exist_ok=True)
    value = {"machine": machine(), "table": [asdict(row) for row in rows], **details}
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def machine() -> dict[str, Any]:
    """Describe the machine, its load and the time."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": list(os.getloadavg()),
        "commit": _commit(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def _commit() -> str:
    command = ["git", "-C", str(HERE), "describe", "--always", "--dirty"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return done.stdout.strip()
