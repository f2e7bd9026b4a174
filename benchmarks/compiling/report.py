"""The table and the JSON of the compile-cost benchmark."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from compiling.meter import Spent
from compiling.side import Result

from lmpipe.foundation.statistics import mean_interval

Key = tuple[str, str, str]


@dataclass(frozen=True)
class Line:
    """One optimizer on one task, over its runs. Scores are in percent.

    Args:
        task: The task.
        side: The library.
        optimizer: The optimizer's name with the settings that were given to it.
        runs: The number of runs that were done, each with its own seed.
        status: `done`, or why the other runs ended.
        test: The mean score on the test set; None if no run was done.
        low: The lower end of its 95 % interval, over the test rows.
        high: The upper end.
        val: The mean of the best validation scores, or None.
        search: The mean calls and tokens of the search, including validation.
        testing: The mean calls and tokens of the test.
        of_dspy: Search calls as a multiple of those of DSPy's counterpart; None if it made none.
        reached: The calls until the best validation score was at least that of DSPy's counterpart;
            None if it never was, or the counterpart has none.
    """

    task: str
    side: str
    optimizer: str
    runs: int
    status: str
    test: float | None
    low: float | None
    high: float | None
    val: float | None
    search: Spent
    testing: Spent
    of_dspy: float | None = None
    reached: int | None = None


def read_results(paths: Iterable[Path]) -> list[Result]:
    """Read result files in the order of their names."""
    return [read_result(path) for path in sorted(paths)]


def read_result(path: Path) -> Result:
    """Read one side's result file."""
    raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    raw["curve"] = [(int(calls), float(score)) for calls, score in raw["curve"]]
    return Result(**{**raw, "search": Spent(**raw["search"]), "test": Spent(**raw["test"])})


def label(result: Result) -> str:
    """The optimizer's name with the settings that were given to it."""
    given: Mapping[str, Any] = result.settings.get("given", {})
    if not given:
        return result.optimizer
    shown = ", ".join(
        name if value is True else f"{name} {_short(value)}" for name, value in given.items()
    )
    return f"{result.optimizer} ({shown})"


def _short(value: Any) -> str:
    return "/".join(str(item) for item in value) if isinstance(value, list) else str(value)


def lines_of(results: Sequence[Result]) -> list[Line]:
    """One line per task, optimizer and side."""
    groups: dict[Key, list[Result]] = {}
    for result in results:
        groups.setdefault((result.task, label(result), result.side), []).append(result)
    lines = [_line(key, group) for key, group in groups.items()]
    calls, scores = _calls_of_dspy(results), _scores_of_dspy(results)
    compared: list[Line] = []
    for line in sorted(lines, key=lambda one: (one.task, one.optimizer, one.side)):
        counterpart = line.task, line.optimizer.split(" (")[0]
        own = groups[line.task, line.optimizer, line.side]
        changes = {
            "of_dspy": _ratio(line, calls.get(counterpart)),
            "reached": _reached(own, scores.get(counterpart)) if line.side == "lmpipe" else None,
        }
        compared.append(Line(**{**vars(line), **changes}))
    return compared


def _line(key: Key, group: Sequence[Result]) -> Line:
    task, name, side = key
    done = [result for result in group if result.status == "done"]
    others = sorted({_first_line(one.status) for one in group if one.status != "done"})
    # Each test row counts once, with its mean over the runs.
    rows = [
        sum(values) / len(values) for values in zip(*(one.test_rows for one in done), strict=True)
    ]
    interval = mean_interval(rows) if rows else None
    best = [max(score for _, score in result.curve) for result in group if result.curve]
    return Line(
        task=task,
        side=side,
        optimizer=name,
        runs=len(done),
        status="; ".join([*(["done"] if done else []), *others]),
        test=round(100 * sum(rows) / len(rows), 1) if rows else None,
        low=round(100 * interval.low, 1) if interval else None,
        high=round(100 * interval.high, 1) if interval else None,
        val=round(sum(best) / len(best), 1) if best else None,
        search=_mean([result.search for result in group]),
        testing=_mean([result.test for result in done]),
    )


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else "unknown"


def _mean(spent: Sequence[Spent]) -> Spent:
    if not spent:
        return Spent()
    total = sum(spent, Spent())
    return Spent(**{name: round(value / len(spent)) for name, value in asdict(total).items()})


def _calls_of_dspy(results: Sequence[Result]) -> dict[tuple[str, str], float]:
    """DSPy's mean search calls by task and optimizer, of the compiles that were done."""
    found: dict[tuple[str, str], list[int]] = {}
    for result in results:
        if result.side == "dspy" and result.status == "done" and result.search.calls:
            found.setdefault((result.task, result.optimizer), []).append(result.search.calls)
    return {key: sum(calls) / len(calls) for key, calls in found.items()}


def _scores_of_dspy(results: Sequence[Result]) -> dict[tuple[str, str], float]:
    """DSPy's best validation score by task and optimizer, including unfinished compiles."""
    found: dict[tuple[str, str], list[float]] = {}
    for result in results:
        if result.side == "dspy" and result.curve:
            best = max(score for _, score in result.curve)
            found.setdefault((result.task, result.optimizer), []).append(best)
    return {key: sum(scores) / len(scores) for key, scores in found.items()}


def _reached(results: Sequence[Result], score: float | None) -> int | None:
    """The mean number of calls until a score was reached, over the compiles that reached it."""
    if score is None:
        return None
    first = [
        min(calls for calls, found in result.curve if found >= score)
        for result in results
        if any(found >= score for _, found in result.curve)
    ]
    return round(sum(first) / len(first)) if first else None


def _ratio(line: Line, calls: float | None) -> float | None:
    if line.side == "dspy" or not calls:
        return None
    return round(line.search.calls / calls, 2)


_HEADS = (
    "task", "optimizer", "side", "runs", "test", "95 % interval", "val", "search calls", "of DSPy",
    "to its val", "test calls", "prompt k", "cached", "generated k", "seconds",
)  # fmt: skip


def table(lines: Sequence[Line]) -> str:
    """The lines as a Markdown table, followed by the compiles that were not done."""
    cells = [_cells(line) for line in lines]
    widths = [max(len(row[place]) for row in [_HEADS, *cells]) for place in range(len(_HEADS))]
    rows = [_HEADS, tuple("-" * width for width in widths), *cells]
    text = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    notes = [
        f"{line.task}, {line.side}'s {line.optimizer}: {line.status}"
        for line in lines
        if line.status != "done"
    ]
    return "\n".join([*text, *notes])


def _cells(line: Line) -> tuple[str, ...]:
    both = line.search + line.testing
    cached = f"{both.cached_tokens / both.prompt_tokens:.0%}" if both.prompt_tokens else "-"
    return (
        line.task,
        line.optimizer,
        line.side,
        str(line.runs),
        _number(line.test),
        f"{line.low:.1f} to {line.high:.1f}" if line.low is not None else "-",
        _number(line.val),
        f"{line.search.calls:,}",
        f"{line.of_dspy:.2f} x" if line.of_dspy is not None else "-",
        f"{line.reached:,}" if line.reached is not None else "-",
        f"{line.testing.calls:,}",
        f"{both.prompt_tokens / 1000:,.0f}",
        cached,
        f"{both.completion_tokens / 1000:,.1f}",
        f"{both.seconds:,.0f}",
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def write_json(path: Path, results: Sequence[Result], about: Mapping[str, Any]) -> None:
    """Write the lines and all compiles."""
    content = {
        "about": dict(about),
        "lines": [asdict(line) for line in lines_of(results)],
        "compiles": [asdict(result) for result in results],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=1, ensure_ascii=False)
    path.write_text(_flat(text) + "\n", encoding="utf-8")


def _flat(text: str) -> str:
    """JSON with each list of numbers on one line."""
    import re

    return re.sub(r"\[[\s\d.,\[\]-]+\]", lambda found: re.sub(r"\s+", "", found[0]), text)
