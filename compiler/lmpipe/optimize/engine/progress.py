"""`ProgressReporter`: reports the progress of a compile while its steps run."""

from __future__ import annotations

from collections.abc import Callable

from lmpipe.evaluation.results import Row
from lmpipe.optimize.engine.budget import Ledger
from lmpipe.optimize.engine.events import Progress, Watcher
from lmpipe.optimize.engine.scoreboard import Scoreboard
from lmpipe.weights.trainer import TrainingProgress


class ProgressReporter:
    """Reports progress to a watcher; `phase` is what the compile does now."""

    def __init__(self, watcher: Watcher, scoreboard: Scoreboard, ledger: Ledger) -> None:
        self.phase = ""
        self._watcher, self._scoreboard, self._ledger = watcher, scoreboard, ledger

    def start_step(self, step: str, total: int) -> Callable[[Row | None], None]:
        """Report the start of a step, and return a function to call as each of its rows ends."""
        done = 0

        def row_ended(_: Row | None) -> None:
            nonlocal done
            done += 1
            self._report(step, done, total)

        self._report(step, 0, total)
        return row_ended

    def training_reporter(self, label: str) -> Callable[[TrainingProgress], None]:
        """Return a function that reports the progress of the training with this label."""

        def report(progress: TrainingProgress) -> None:
            self._report(f"training {label}", progress.step, progress.steps, progress)

        return report

    def _report(
        self, step: str, done: int, total: int, training: TrainingProgress | None = None
    ) -> None:
        best = self._scoreboard.best
        self._watcher.progress(
            Progress(
                phase=self.phase,
                step=step,
                done=done,
                of=total,
                best=best.score if best else None,
                best_name=best.name if best else "",
                spend=self._ledger.total,
                training=training,
            )
        )
