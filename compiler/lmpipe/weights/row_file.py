"""Read a JSONL file of training rows, and choose the rows to hold out for evaluation."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import orjson

from lmpipe.errors import DataError
from lmpipe.foundation.canonical_json import canonical_json
from lmpipe.weights.settings import Method, TrainingSettings

_FIELDS: dict[Method, tuple[str, ...]] = {
    "sft": ("prompt", "completion"),
    "dpo": ("prompt", "chosen", "rejected"),
}


def read_row_file(path: Path, method: Method) -> list[dict[str, Any]]:
    """Read the rows of a JSONL file; a line that is not a row for this method is a DataError."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise DataError(
            f"the training rows {path} cannot be read: {error.strerror or error}"
        ) from error
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise DataError(f"{path} holds no training rows")
    return [_read_row(path, number, line, method) for number, line in enumerate(lines, 1)]


def held_out_rows(rows: list[dict[str, Any]], settings: TrainingSettings) -> list[int]:
    """Choose the positions of the rows to hold out, by the seed; returns them in order.

    Rows with the same prompt stay together, so that evaluation never sees a prompt of training.
    """
    prompts: dict[bytes, list[int]] = {}
    for position, row in enumerate(rows):
        prompts.setdefault(canonical_json(row["prompt"]), []).append(position)
    groups = list(prompts.values())
    random.Random(f"{settings.seed}:held out").shuffle(groups)
    wanted = round(settings.eval_fraction * len(rows))
    if settings.eval_fraction > 0:
        wanted = max(wanted, 1)
    taken: list[int] = []
    for group in groups[1:]:  # training keeps at least one prompt
        if len(taken) + len(group) <= wanted:
            taken += group
    return sorted(taken)


def _read_row(path: Path, number: int, line: bytes, method: Method) -> dict[str, Any]:
    fields = _FIELDS[method]
    try:
        row = orjson.loads(line)
    except ValueError as error:
        raise DataError(f"{path}, line {number}: not valid JSON ({error})") from None
    if not isinstance(row, dict) or set(row) != set(fields):
        found = ", ".join(sorted(row)) if isinstance(row, dict) else type(row).__name__
        raise DataError(
            f"{path}, line {number}: method={method!r} needs an object with {', '.join(fields)}, "
            f"found {found or 'an empty object'}"
        )
    for field in fields:
        if not _are_turns(row[field]):
            raise DataError(
                f"{path}, line {number}: {field} must be a list of turns, each an object with the "
                "strings role and content"
            )
        if field != "prompt" and [turn["role"] for turn in row[field]] != ["assistant"]:
            raise DataError(f"{path}, line {number}: {field} must be one turn of the assistant")
    return row


def _are_turns(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) > 0
        and all(
            isinstance(turn, dict)
            and set(turn) == {"role", "content"}
            and all(isinstance(text, str) for text in turn.values())
            for turn in value
        )
    )
