"""Progress of a compile: a live panel, plain lines, or JSON lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

import orjson

from lmpipe.errors import LMError
from lmpipe.evaluation.results import Row
from lmpipe.optimize.engine.events import Candidate, Progress, Rollout
from lmpipe.report.text import (
    NOTHING,
    percent,
    points,
    shorten,
    spend_line,
    standing_line,
    tally,
    training_line,
)
from lmpipe.weights.trainer import TrainingProgress

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


class ProgressView:
    """The base of the three views: a `Watcher` that may be entered, left and told of retries."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def progress(self, progress: Progress) -> None:
        """A row has ended or a step begun."""

    def candidate(self, candidate: Candidate, *, best: bool) -> None:
        """A candidate was scored."""

    def rollout(self, rollout: Rollout) -> None:
        """Rollouts are counted by `progress`."""

    def row(self, subject: str, row: Row) -> None:
        """Rows are in the run folder."""

    def note(self, kind: str, data: Mapping[str, Any]) -> None:
        """Something else happened."""

    def retry(self, attempt: int, wait: float, error: LMError) -> None:
        """A server is away and will be asked again."""


class JsonLines(ProgressView):
    """One JSON object for each event, for machines.

    Args:
        file: where they go; standard output by default.
    """

    def __init__(self, file: TextIO | None = None) -> None:
        self._file = file
        self._last = 0.0

    def emit(self, event: str, **data: Any) -> None:
        """Write one event."""
        file = self._file or sys.stdout
        line = orjson.dumps({"event": event, **data}, default=str, option=orjson.OPT_SORT_KEYS)
        file.write(line.decode() + "\n")
        file.flush()

    def progress(self, progress: Progress) -> None:
        now = time.monotonic()
        if 0 < progress.done < progress.of and now - self._last < 1:
            return
        self._last = now
        self.emit(
            "progress",
            phase=progress.phase,
            step=progress.step,
            done=progress.done,
            of=progress.of,
            best=progress.best,
            best_name=progress.best_name,
            spend={**progress.spend.to_json(), "fresh": progress.spend.fresh_json()},
            **({"training": asdict(progress.training)} if progress.training else {}),
        )

    def candidate(self, candidate: Candidate, *, best: bool) -> None:
        self.emit(
            "candidate",
            number=candidate.number,
            name=candidate.name,
            best=best,
            **candidate.standing(),
            **candidate.evaluation.summary(),
        )

    def note(self, kind: str, data: Mapping[str, Any]) -> None:
        self.emit("note", kind=kind, data=dict(data))

    def retry(self, attempt: int, wait: float, error: LMError) -> None:
        self.emit("retry", attempt=attempt, wait=wait, error=str(error))


class PlainLines(ProgressView):
    """One line for each phase and candidate, flushed, for pipes and logs.

    Args:
        file: where they go; standard output by default.
    """

    def __init__(self, file: TextIO | None = None) -> None:
        self._file = file
        self._phase = ""
        self._first: float | None = None
        self._last: Progress | None = None
        # Whose training was told of last, and how many quarters of it.
        self._training = "", 0

    def write(self, line: str) -> None:
        file = self._file or sys.stdout
        file.write(line + "\n")
        file.flush()

    def progress(self, progress: Progress) -> None:
        self._last = progress
        if progress.phase != self._phase:
            self._phase, self._training = progress.phase, ("", 0)
            self.write(f"{progress.phase}:")
        if progress.training is not None:
            self._train(progress, progress.training)
        elif progress.done == progress.of and (
            progress.phase in ("test", "train") or progress.step.startswith("rollouts")
        ):
            self.write(f"  {progress.step}: {progress.of} runs, {spend_line(progress.spend)}")

    def _train(self, progress: Progress, training: TrainingProgress) -> None:
        """A line when a training begins, and one for each quarter of it."""
        quarters = 4 * progress.done // progress.of if progress.of else 0
        name, told = self._training
        if name != progress.step:
            self.write(f"  {progress.step}" + (f": {progress.of} steps" if progress.of else ""))
        elif quarters > told:
            step = f"step {progress.done} of {progress.of}"
            line = ", ".join(filter(None, (step, training_line(training))))
            self.write(f"  {progress.step}: {line}")
        self._training = progress.step, quarters

    def candidate(self, candidate: Candidate, *, best: bool) -> None:
        if self._first is None and candidate.complete:
            self._first = candidate.score
        spent = f"  [{spend_line(self._last.spend)}]" if self._last else ""
        self.write(f"{candidate_line(candidate, self._first, best=best)}{spent}")

    def note(self, kind: str, data: Mapping[str, Any]) -> None:
        self.write(f"  {note_line(kind, data)}")

    def retry(self, attempt: int, wait: float, error: LMError) -> None:
        self.write(f"  {retry_line(attempt, wait, error)}")


class LivePanel(ProgressView):
    """A panel that shows where the compile stands, below the candidates that were scored.

    Args:
        console: the terminal.
        title: the run's name.
    """

    def __init__(self, console: Console, title: str) -> None:
        from rich.live import Live

        self._console = console
        self._title = title
        self._first: float | None = None
        self._now: Progress | None = None
        self._retry = ""
        self._started = time.monotonic()
        self._live = Live(
            console=console, get_renderable=self._render, refresh_per_second=8, transient=True
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def progress(self, progress: Progress) -> None:
        self._now = progress
        self._retry = ""

    def candidate(self, candidate: Candidate, *, best: bool) -> None:
        from rich.text import Text

        if self._first is None and candidate.complete:
            self._first = candidate.score
        line = candidate_line(candidate, self._first, best=best)
        self._live.refresh()
        self._console.print(Text(line, style="green" if best else "dim"))

    def note(self, kind: str, data: Mapping[str, Any]) -> None:
        from rich.text import Text

        self._console.print(Text(note_line(kind, data), style="yellow"))

    def retry(self, attempt: int, wait: float, error: LMError) -> None:
        self._retry = retry_line(attempt, wait, error)

    def _render(self) -> RenderableType:
        from rich.console import Group
        from rich.panel import Panel
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        now = self._now
        if now is None:
            return Panel(Text("reading the data …"), title=Text(self._title), title_align="left")
        bar = Table.grid(padding=(0, 2))
        bar.add_row(
            Text(now.phase, style="bold"),
            Text(shorten(now.step, 60)),
            ProgressBar(total=max(now.of, 1), completed=now.done, width=30),
            Text(f"{now.done}/{now.of}"),
        )
        parts: list[RenderableType] = [bar, Text(spend_line(now.spend), style="dim")]
        if now.training is not None and (line := training_line(now.training)):
            parts.insert(1, Text(line))
        if now.best is not None:
            change = f" ({points(now.best - self._first)})" if self._first is not None else ""
            parts.append(Text(f"best so far {percent(now.best)}{change}: {now.best_name}"))
        if self._retry:
            parts.append(Text(self._retry, style="yellow"))
        seconds = time.monotonic() - self._started
        title = Text(f"{self._title}, {seconds:.0f} s")
        return Panel(Group(*parts), title=title, title_align="left", border_style="dim")


def candidate_line(candidate: Candidate, first: float | None, *, best: bool) -> str:
    """A candidate in one line; `first` is what its score is compared with."""
    failures = candidate.evaluation.failures
    # What a dropped one scored is of the harder examples: beside the others it would mislead.
    standing = standing_line({**candidate.standing(), **candidate.evaluation.summary()})
    score = percent(candidate.score) if candidate.complete else NOTHING
    change = NOTHING
    if candidate.complete and first is not None:
        change = points(candidate.score - first)
    return (
        f"{candidate.number:>3}  {score:>6}  {change:>6}  {candidate.name}"
        + (f", {standing}" if standing else "")
        + (f", failures: {tally(failures)}" if failures else "")
        + ("  best so far" if best else "")
    )


def note_line(kind: str, data: Mapping[str, Any]) -> str:
    """A note in one line."""
    if set(data) == {"message"}:
        return f"{kind}: {shorten(str(data['message']))}"
    values = ", ".join(f"{name} {shorten(value, 80)}" for name, value in data.items())
    return f"{kind}: {values}" if values else kind


def retry_line(attempt: int, wait: float, error: LMError) -> str:
    """A retry in one line."""
    return f"asking again in {wait:.1f} s (attempt {attempt} failed: {shorten(str(error), 120)})"
