"""Write rows as JSONL."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

Rows: TypeAlias = Iterable[Mapping[str, Any]]

DATA = Path(__file__).parent / "data"


def as_lines(rows: Rows) -> str:
    """Write rows as JSONL."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def write_files(folder: Path, files: Mapping[str, Rows]) -> None:
    """Write the rows of files into a folder, by the files' names."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in files.items():
        (folder / name).write_text(as_lines(rows), encoding="utf-8")
