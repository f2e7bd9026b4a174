"""The page of measurements, whose tables are made from `benchmarks/results/`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any

from assemble.paths import ROOT

RESULTS = ROOT / "benchmarks" / "results"
_LMS = {
    "qwen-1.5b": "Qwen2.5-Coder-1.5B",
    "qwen-0.5b": "Qwen2.5-Coder-0.5B",
    "smollm2-135m": "SmolLM2-135M",
}
_TASKS = {
    "intents7": "7 intents",
    "tickets": "tickets",
    "gsm8k": "GSM8K",
    "orders": "nested orders",
}


def measured_page() -> str:
    """Return the page as Markdown."""
    return "\n".join(
        [
            "# Measured beside DSPy",
            "",
            "Made from the files in `benchmarks/results/`, whatever they say; "
            "[Benchmarks](../benchmarks.md) tells how they were measured.",
            "",
            "## First contact",
            "",
            "Programs as declared, before any compile, with default settings: score, answers that "
            "could not be read, and LM calls ([how](../benchmarks.md#first-contact)).",
            "",
            *_table(("LM", "task", "rows", "DSPy", "lmpipe"), _first_contact()),
            "",
            "## The cost of a compile",
            "",
            "Test scores in percent with 95 % intervals, and the LM calls of the search "
            "([how](../benchmarks.md#the-cost-of-a-compile)).",
            "",
            _read("compile_cost.json")["about"]["note"],
            "",
            *_table(("task", "library", "optimizer", "test", "interval", "calls"), _compiles()),
            "",
            "## The cost of a call",
            "",
            "What the library adds to an LM that answers at once "
            "([how](../benchmarks.md#the-cost-of-a-call)).",
            "",
            *_table(("", "unit", "lmpipe", "DSPy", "ratio"), _overhead()),
            "",
        ]
    )


def _read(name: str) -> Any:
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [heads, ["---"] * len(heads), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def _first_contact() -> Iterable[Sequence[str]]:
    cells = _read("first_contact.json")["cells"]
    for lm, shown in _LMS.items():
        for task, words in _TASKS.items():
            sides = [cells[f"{lm}-{task}-{side}"] for side in ("dspy", "lmpipe")]
            yield (shown, words, str(len(sides[0]["rows"])), *map(_first_cell, sides))


def _first_cell(cell: Any) -> str:
    rows = cell["rows"]
    unread = sum(row["unreadable"] for row in rows)
    return f"{fmean(row['score'] for row in rows):.2f} · {unread} unread · {cell['calls']} calls"


def _compiles() -> Iterable[Sequence[str]]:
    for line in _read("compile_cost.json")["lines"]:
        done = line["test"] is not None
        yield (
            line["task"],
            line["side"].replace("dspy", "DSPy 3.4.1"),
            f"`{line['optimizer']}`",
            f"{line['test']:.1f}" if done else line["status"],
            f"{line['low']:.1f} to {line['high']:.1f}" if done else "",
            f"{line['search']['calls']:,.0f}",
        )


def _overhead() -> Iterable[Sequence[str]]:
    for line in _read("sample.json")["table"]:
        digits, dspy, ratio = line["digits"], line["dspy"], line["ratio"]
        yield (
            line["title"],
            line["unit"],
            f"{line['lmpipe']:,.{digits}f}",
            "" if dspy is None else f"{dspy:,.{digits}f}",
            "" if ratio is None else f"{ratio:.1f}",
        )
