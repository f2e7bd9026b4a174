"""The tasks of the first-contact benchmark: their rows and how an answer is scored.

Only the standard library, because each side imports it in a separate environment.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

TaskName = Literal["intents7", "tickets", "gsm8k", "orders"]
TASKS: tuple[TaskName, ...] = get_args(TaskName)
Row = Mapping[str, Any]

SIZES: Mapping[TaskName, int] = {"intents7": 60, "tickets": 24, "gsm8k": 24, "orders": 20}
"""How many rows of each task are asked."""
DETAILS = ("order", "product", "amount")


def read_rows(task: TaskName, file: Path, size: int) -> list[dict[str, Any]]:
    """Read the rows of a task; a larger file is sampled with a fixed seed."""
    lines = file.read_text(encoding="utf-8").splitlines()
    rows: list[dict[str, Any]] = [json.loads(line) for line in lines if line]
    if task == "gsm8k":
        return [{**row, "answer": _number(row["answer"])} for row in rows[:size]]
    return random.Random(0).sample(rows, size) if len(rows) > size else rows


def labels_of(file: Path) -> tuple[str, ...]:
    """Return the labels of a file of intents, in alphabetical order."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return tuple(sorted({json.loads(line)["label"] for line in lines if line}))


def score(task: TaskName, row: Row, answer: Mapping[str, Any]) -> float:
    """Score the outputs of a program, as JSON values, from 0 to 1."""
    match task:
        case "intents7":
            return float(answer.get("label") == row["label"])
        case "gsm8k":
            return float(_same_number(answer.get("answer"), row["answer"]))
        case "tickets":
            details = sum(_same(answer.get(name), row[name]) for name in DETAILS) / len(DETAILS)
            return (float(answer.get("team") == row["team"]) + details) / 2
        case "orders":
            return _score_order(answer.get("order") or {}, row["order"])


def _score_order(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> float:
    """The share of right facts: customer, city, delivery and each item, which may be invented."""
    facts = [_same(found.get(name), wanted[name]) for name in ("customer", "city", "delivery")]
    items = [_item(item) for item in found.get("items") or ()]
    expected = [_item(item) for item in wanted["items"]]
    facts += [item in items for item in expected]
    facts += [False] * max(0, len(items) - len(expected))
    return sum(facts) / len(facts)


def _item(item: Mapping[str, Any]) -> tuple[str, float, float]:
    return (
        str(item.get("product", "")).strip().lower(),
        float(item.get("quantity") or 0),
        round(float(item.get("unit_price") or 0), 2),
    )


def _same(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, int | float) or isinstance(found, int | float):
        return _same_number(found, wanted)
    return str(found or "").strip().lower() == str(wanted or "").strip().lower()


def _same_number(found: Any, wanted: Any) -> bool:
    if found is None or wanted is None:
        return found is wanted
    try:
        return abs(float(found) - float(wanted)) < 1e-6
    except ValueError:
        return False


def _number(text: str) -> float:
    return float(text.replace(",", ""))


def share(values: Sequence[float]) -> float:
    """Return the mean of some scores."""
    return sum(values) / len(values) if values else 0.0
