"""Write the rows of an evaluation to a JSONL or CSV file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

from lmpipe.errors import DataError
from lmpipe.foundation.atomic_files import open_atomic
from lmpipe.foundation.canonical_json import canonical_json, record_json
from lmpipe.foundation.unicode_text import with_valid_texts

# The columns that every CSV has; an example's field of the same name gets a prefix.
_COLUMNS = ("index", "prediction", "score", "feedback", "failure", "message")


class WritableRow(Protocol):
    """What is written of a row: `to_json` has an `example`, which has these field names."""

    @property
    def example(self) -> Iterable[str]: ...

    def to_json(self) -> dict[str, Any]: ...


def check_rows_file(path: Path) -> None:
    """Check that rows can be written to a file, before an LM is called, or raise a DataError."""
    if path.suffix.lower() not in (".jsonl", ".csv"):
        raise DataError(f"{path}: expected a name that ends in .jsonl or .csv")
    if not path.parent.is_dir():
        raise DataError(f"{path}: the folder {path.parent} does not exist")


def write_rows(path: Path, rows: Sequence[WritableRow]) -> None:
    """Write one line for each row: JSON objects, or CSV whose nested values are JSON.

    The file is written completely or not at all. A CSV needs two passes over the rows.
    """
    with open_atomic(path) as file:
        if path.suffix.lower() == ".jsonl":
            file.writelines(json_line(row) for row in rows)
        else:
            _write_csv(file, rows)


def json_line(row: WritableRow) -> bytes:
    """Return a row as one line of a JSONL file."""
    return record_json(row.to_json()) + b"\n"


def _write_csv(file: IO[bytes], rows: Sequence[WritableRow]) -> None:
    fields = sorted({_column(name) for row in rows for name in row.example})
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    writer = csv.DictWriter(text, ["index", *fields, *_COLUMNS[1:]])
    writer.writeheader()
    writer.writerows(_flatten(with_valid_texts(row.to_json())) for row in rows)
    text.detach()  # flushes; the caller closes the file


def _column(name: str) -> str:
    return f"example.{name}" if name in _COLUMNS else name


def _flatten(row: dict[str, Any]) -> dict[str, Any]:
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
