"""Rows of an evaluation as a file."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from lmpipe.errors import DataError
from lmpipe.foundation.atomic_files import open_atomic
from lmpipe.foundation.canonical_json import canonical_json

if TYPE_CHECKING:
    from lmpipe.evaluation.results import Row

_OWN = ("index", "prediction", "score", "feedback", "failure", "message")


def check_rows_file(path: Path) -> None:
    """Check that rows can be written, before anything is spent on them.

    Raises:
        DataError: if the name or the folder is wrong.
    """
    if path.suffix.lower() not in (".jsonl", ".csv"):
        raise DataError(f"{path}: expected a name that ends in .jsonl or .csv")
    if not path.parent.is_dir():
        raise DataError(f"{path}: there is no folder {path.parent}")


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write one line for each row: JSON objects, or CSV whose nested values are JSON.

    Args:
        path: the file; it is written whole or not at all.
        rows: the rows, which are gone through twice for a CSV.
    """
    with open_atomic(path) as file:
        if path.suffix.lower() == ".jsonl":
            file.writelines(json_line(row) for row in rows)
        else:
            _write_csv(file, rows)


def json_line(row: Row) -> bytes:
    """A row as one line of a JSONL file."""
    return canonical_json(row.to_json()) + b"\n"


def _write_csv(file: IO[bytes], rows: Sequence[Row]) -> None:
    fields = sorted({_column(name) for row in rows for name in row.example})
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    writer = csv.DictWriter(text, ["index", *fields, *_OWN[1:]])
    writer.writeheader()
    writer.writerows(_flat(row.to_json()) for row in rows)
    text.detach()  # flushed; the file is another's to close


def _column(name: str) -> str:
    """The column of an example's field, apart from the columns that every file has."""
    return f"example.{name}" if name in _OWN else name


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    failure = row["failure"] or {}
    return {
        **{_column(name): _cell(value) for name, value in row["example"].items()},
        "index": row["index"],
        "prediction": _cell(row["prediction"]),
        "score": row["score"],
        "feedback": row["feedback"],
        "failure": failure.get("kind", ""),
        "message": failure.get("message", ""),
    }


def _cell(value: Any) -> Any:
    return canonical_json(value).decode() if isinstance(value, dict | list) else value
