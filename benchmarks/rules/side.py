"""What both sides of the rule world share: the command line, the call counter and the result.

A side is a process that runs one search for each seed and prints the results as one JSON list.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from threading import Lock
from typing import Any

from rules.world import World


@dataclass
class Result:
    """One search.

    Args:
        curve: calls, and the true score of the instruction that the search would have returned
            then, each time that it changes.
        final: the true score of the result.
        calls: the calls of student and proposer together.
        asks: those of the proposer.
        validation: the share of program runs that were on validation rows.
        tests: for each proposal that was tested on a mini-batch, whether it was accepted and
            whether it is truly better than its parent.
        seconds: the wall time.
        seed: the world's seed.
    """

    curve: list[tuple[int, float]] = field(default_factory=list)
    final: float = 0.0
    calls: int = 0
    asks: int = 0
    validation: float = 0.0
    tests: list[tuple[bool, bool]] = field(default_factory=list)
    seconds: float = 0.0
    seed: int = 0


class Counter:
    """Counts the calls of student and proposer."""

    def __init__(self) -> None:
        self.student = 0
        self.asks = 0
        self.asked_after: list[int] = []
        self._lock = Lock()

    def count(self, *, proposer: bool) -> None:
        """Count one call."""
        with self._lock:
            if proposer:
                self.asks += 1
                self.asked_after.append(self.student)
            else:
                self.student += 1

    @property
    def calls(self) -> int:
        """All calls so far."""
        return self.student + self.asks

    def calls_after(self, student: int) -> int:
        """Return all calls at the time of the student's call with this number."""
        return student + sum(asked <= student for asked in self.asked_after)


def main(search: Callable[[World, str, int, dict[str, Any]], Result]) -> None:
    """Run a search for each seed, as the command line says, and print the results."""
    parser = argparse.ArgumentParser()
    parser.add_argument("optimizer")
    parser.add_argument("--calls", type=int, required=True)
    parser.add_argument("--world", type=json.loads, default={}, help="fields of `World` as JSON")
    parser.add_argument("--settings", type=json.loads, default={}, help="of the optimizer, as JSON")
    parser.add_argument("--seeds", type=int, nargs="+", required=True)
    options = parser.parse_args()
    results: list[dict[str, Any]] = []
    for seed in options.seeds:
        world = World(**{**options.world, "seed": seed})
        started = time.perf_counter()
        result = search(world, options.optimizer, options.calls, options.settings)
        result.seconds, result.seed = time.perf_counter() - started, seed
        results.append(asdict(result))
    print(json.dumps(results))


def read_results(found: Sequence[dict[str, Any]]) -> list[Result]:
    """Read the output of a side."""
    names = {item.name for item in fields(Result)}
    return [Result(**{key: one[key] for key in names}) for one in found]
