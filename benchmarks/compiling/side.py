"""The parts that all sides of the compile-cost benchmark share: options, phases, result file.

A side is a process. It writes its result after each candidate, so that a process that is killed
leaves its spend and its scores so far.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from compiling.meter import Meter, Spent
from compiling.tasks import TASKS, Rows, read_rows


@dataclass
class Result:
    """The result of one compile.

    Args:
        side: The library.
        task: The task.
        optimizer: The optimizer's name.
        seed: The seed of the order of the training rows, and of the optimizer if it takes one.
        settings: The settings of the optimizer and the LM.
        status: `running`, `done`, or why it ended.
        search: The calls and tokens of the search, including validation.
        test: The calls and tokens of the evaluation on the test set.
        curve: (calls so far, validation score in percent) of each scored candidate.
        test_rows: The score of each test row.
    """

    side: str
    task: str
    optimizer: str
    seed: int
    settings: dict[str, Any]
    status: str = "running"
    search: Spent = field(default_factory=Spent)
    test: Spent = field(default_factory=Spent)
    curve: list[tuple[int, float]] = field(default_factory=list)
    test_rows: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Job:
    """The compile that the command line describes."""

    side: str
    options: argparse.Namespace
    rows: Rows
    meter: Meter
    result: Result
    start: Spent

    def scored(self, score: float) -> None:
        """Record a candidate's score on the whole validation set, in percent."""
        self.result.search = self.meter.read() - self.start
        self.result.curve.append((self.result.search.calls, round(score, 2)))
        self.write()

    def searched(self) -> Spent:
        """Record that the search is over; returns the counts at the start of the test."""
        now = self.meter.read()
        self.result.search = now - self.start
        self.write()
        return now

    def tested(self, rows: Sequence[float], since: Spent) -> None:
        """Record the scores on the test set."""
        self.result.test = self.meter.read() - since
        self.result.test_rows = [round(row, 4) for row in rows]
        self.result.status = "done"
        self.write()

    def ended(self, why: str) -> None:
        """Record that the compile ended without a result."""
        self.result.search = self.meter.read() - self.start
        self.result.status = why
        self.write()

    def write(self) -> None:
        path: Path = self.options.out
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(asdict(self.result), indent=1), encoding="utf-8")
        os.replace(part, path)


def begin(side: str, optimizers: Sequence[str] | None, arguments: Sequence[str] | None) -> Job:
    """Read a side's command line and data, and start counting."""
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("optimizer", choices=optimizers)
    parser.add_argument("--files", type=Path, nargs="+", required=True)
    parser.add_argument("--url", required=True, help="the address of the proxy, up to /v1")
    parser.add_argument("--model", default="smol")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--settings", type=json.loads, default={}, help="settings of the optimizer, as JSON"
    )
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--proposal-tokens", type=int, default=512)
    parser.add_argument("--test-size", type=int, help="use fewer test rows, for a trial run")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    rows = read_rows(options.task, options.files).shuffled(options.seed)
    if options.test_size:
        rows = Rows(rows.train, rows.val, rows.test[: options.test_size])
    meter = Meter(options.url)
    result = Result(
        side, options.task, options.optimizer, options.seed, {"given": options.settings}
    )
    return Job(side, options, rows, meter, result, meter.read())
