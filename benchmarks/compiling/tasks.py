"""The data of the compile-cost benchmark: the same rows in the same order for every side.

Standard library only, because each side imports it in its own environment.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

TaskName = Literal["intents7", "tickets", "banking77"]
TASKS: tuple[TaskName, ...] = get_args(TaskName)
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Rows:
    """The rows of one task."""

    train: Sequence[Row]
    val: Sequence[Row]
    test: Sequence[Row]

    def shuffled(self, seed: int) -> Rows:
        """The same rows with the training rows shuffled; seed 0 keeps the order of the file."""
        train = list(self.train)
        if seed:
            random.Random(seed).shuffle(train)
        return Rows(train, self.val, self.test)

    def labels(self, field: str = "label") -> tuple[str, ...]:
        """The values of a field in alphabetical order."""
        return tuple(sorted({str(row[field]) for row in (*self.train, *self.val, *self.test)}))


def read_rows(task: TaskName, files: Sequence[Path]) -> Rows:
    """Read a task's rows and split them.

    Args:
        task: `intents7` takes one file (rows 0 to 199, 200 to 299 and 300 to 499), `banking77` two
            (200 and then 100 rows of the shuffled first, 200 of the shuffled second), `tickets`
            the folder with `tickets_train.jsonl`, `tickets_val.jsonl` and `tickets_test.jsonl`.
        files: The paths of the files.

    Raises:
        SystemExit: If the number of files is wrong.
    """
    if task == "intents7":
        (rows,) = _read(task, files, 1)
        return Rows(rows[:200], rows[200:300], rows[300:500])
    if task == "banking77":
        train, test = _read(task, files, 2)
        random.Random(77).shuffle(train)
        random.Random(78).shuffle(test)
        return Rows(train[:200], train[200:300], test[:200])
    folder = files[0]
    train, val, test = _read(task, [folder / f"tickets_{part}.jsonl" for part in SPLITS], 3)
    return Rows(train, val, test)


SPLITS = ("train", "val", "test")


def _read(task: TaskName, files: Sequence[Path], count: int) -> list[list[Row]]:
    if len(files) != count:
        raise SystemExit(f"{task} needs {count} files, got {len(files)}")
    return [
        [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line]
        for file in files
    ]
