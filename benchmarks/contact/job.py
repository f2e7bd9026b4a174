"""What both sides share: the command line of one cell of the table, and its result file.

Only the standard library, because each side imports it in a separate environment.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from contact.tasks import TASKS, TaskName, labels_of, read_rows

MAX_TOKENS = 512
"""Tokens of one answer, for both: a small model may write without end."""


@dataclass(frozen=True)
class Answered:
    """One row.

    Args:
        score: from 0 to 1; 0 if the reply could not be read.
        unreadable: whether no reply could be read, after all that the library does about it.
        error: what the library said then.
    """

    score: float
    unreadable: bool = False
    error: str = ""


@dataclass(frozen=True)
class Job:
    """One model and one task, as the command line asks for them."""

    task: TaskName
    model: str
    url: str
    rows: Sequence[dict[str, Any]]
    labels: Sequence[str]
    out: Path
    in_flight: int

    def write(self, answered: Sequence[Answered], version: str) -> None:
        """Write the rows and the version of the library."""
        result = {"version": version, "rows": [asdict(row) for row in answered]}
        part = self.out.with_suffix(".part")
        part.write_text(json.dumps(result, indent=1), encoding="utf-8")
        os.replace(part, self.out)


def begin() -> Job:
    """Read a side's command line and the task's rows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--model", required=True, help="the model's name at the server")
    parser.add_argument("--url", required=True, help="the server's address, up to /v1")
    parser.add_argument("--file", type=Path, required=True, help="the task's rows")
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--in-flight", type=int, required=True, help="calls at the same time")
    options = parser.parse_args()
    labels = labels_of(options.file) if options.task == "intents7" else ()
    rows = read_rows(options.task, options.file, options.rows)
    return Job(
        options.task, options.model, options.url, rows, labels, options.out, options.in_flight
    )
