"""`ProgressReporter`: says where a compile stands while its steps run."""

from __future__ import annotations

from collections.abc import Callable

from lmpipe.evaluation.results import Row
from lmpipe.optimize.engine.budget import Ledger
from lmpipe.optimize.engine.events import Progress, Watcher
from lmpipe.optimize.engine.scoreboard import Scoreboard
from lmpipe.weights.trainer import TrainingProgress


class ProgressReporter:
    """Tells a watcher of progress.

    Args:
        watcher: who is told.
        board: has the best candidate so far.
        ledger: has what is spent.

    Attributes:
        phase: what the compile does now.
    """

    def __init__(self, watcher: Watcher, board: Scoreboard, ledger: Ledger) -> None:
        self.phase = ""
        self._watcher, self._scoreboard, self._ledger = watcher, board, ledger

    def report_rows(self, step: str, of: int) -> Callable[[Row | None], None]:
        """Tells of each row of a step that has ended; the step begins with this call."""
        done = 0

        def tell(_: Row | None) -> None:
            nonlocal done
            done += 1
            self._tell(step, done, of)

        self._tell(step, 0, of)
        return tell

    def report_training(self, label: str) -> Callable[[TrainingProgress], None]:
        """Tells how far a training is."""

        def tell(progress: TrainingProgress) -> None:
            self._tell(f"training {label}", progress.step, progress.steps, progress)

        return tell

    def _tell(
        self, step: str, done: int, of: int, training: TrainingProgress | None = None
    ) -> None:
        best = self._scoreboard.best
        self._watcher.progress(
            Progress(
                phase=self.phase,
                step=step,
                done=done,
                of=of,
                best=best.score if best else None,
                best_name=best.name if best else "",
                spend=self._ledger.total,
                training=training,
            )
        )
