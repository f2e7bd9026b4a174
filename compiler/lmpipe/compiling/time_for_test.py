"""Withhold wall time for the final test, as much as the search's own runs say that it needs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lmpipe.optimize.engine.budget import Ledger
from lmpipe.optimize.engine.events import Progress, WatcherBase

# The compiled program's prompts are longer than those that were measured first.
_MARGIN = 1.5


@dataclass
class _Step:
    """A step that is running: when it began, and what had been spent by then."""

    began: float
    calls: int
    fresh_calls: int


class FinalTestTime(WatcherBase):
    """A watcher that measures the steps of the search, and withholds the time of the final test.

    The test is estimated from the highest rate of runs of any step so far: small steps do not use
    the servers fully. Replies from the cache take no time, so only the share of fresh calls counts.

    Args:
        ledger: where the time is withheld.
        states: the number of states that are tested.
        examples: the number of test examples.
        concurrency: examples in flight at a time.
    """

    def __init__(self, ledger: Ledger, *, states: int, examples: int, concurrency: int) -> None:
        self._ledger = ledger
        self._states, self._examples, self._concurrency = states, examples, concurrency
        self._step: _Step | None = None
        self._rate = 0.0
        self._shortest = math.inf

    def progress(self, progress: Progress) -> None:
        """Measure a step from its start to its last row."""
        if progress.training is not None or progress.step.startswith("rollouts"):
            self._step = None  # another LM, or none, is at work
        elif progress.done == 0:
            spend = progress.spend
            self._step = _Step(self._ledger.clock(), spend.calls, spend.fresh_calls)
        elif progress.done == progress.of and self._step is not None:
            self._measure(self._step, progress)
            self._step = None

    def _measure(self, step: _Step, progress: Progress) -> None:
        seconds = self._ledger.clock() - step.began
        calls = progress.spend.calls - step.calls
        fresh = progress.spend.fresh_calls - step.fresh_calls
        if seconds <= 0 or not fresh:
            return
        self._rate = max(self._rate, progress.of * fresh / calls / seconds)
        self._shortest = min(self._shortest, seconds)
        blocks = math.ceil(self._examples / self._concurrency)
        one_state = max(self._examples / self._rate, blocks * self._shortest)
        self._ledger.withhold_seconds(_MARGIN * self._states * one_state)
