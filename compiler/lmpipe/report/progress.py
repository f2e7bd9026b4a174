"""Show the progress of a compile: a live panel, plain lines, or JSON lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Self, TextIO

import orjson

from lmpipe.errors import LMError
from lmpipe.foundation.exact_json import dump_json
from lmpipe.foundation.plural import plural
from lmpipe.foundation.progress_bar import Heartbeat
from lmpipe.foundation.shorten import one_line
from lmpipe.lm.spend import Spend
from lmpipe.optimize.engine.events import Candidate, Progress, WatcherBase
from lmpipe.report.text import (
    NOTHING,
    percent,
    points,
    spend_line,
    standing_line,
    tally,
    training_line,
)
from lmpipe.weights.trainer import TrainingProgress

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


# The phases after the search: each of their steps is one line.
_FINAL = ("test", "train", "ablation")


class ProgressView(WatcherBase):
    """The base class of the views: a watcher that is also a context manager."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        return None

    def retry(self, attempt: int, wait: float, error: LMError) -> None:
        """Handle a failed attempt, numbered from 1, that is retried after `wait` seconds."""


class JsonLines(ProgressView):
    """Writes one JSON object for each event, for machines; to standard output by default."""

    def __init__(self, file: TextIO | None = None) -> None:
        self._file = file
        self._last = 0.0

    def emit(self, event: str, **data: Any) -> None:
        """Write one event."""
        line = dump_json({"event": event, **data}, default=str, option=orjson.OPT_SORT_KEYS)
        print(line.decode(), file=self._file, flush=True)

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
    """Writes a line for each phase and candidate, for pipes; to standard output by default.

    Inside a long step it writes how far it is every 15 seconds, by the clock in seconds.
    """

    def __init__(
        self, file: TextIO | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._lines = Heartbeat(file or sys.stdout, clock=clock)
        self._phase = ""
        self._first: float | None = None
        self._last: Progress | None = None
        self._calls_before = 0  # this step
        # The step of the last training that was reported, and how many quarters of it.
        self._training = "", 0

    def write(self, line: str) -> None:
        """Write a line and flush the file."""
        self._lines.write(line)

    def progress(self, progress: Progress) -> None:
        self._last = progress
        final = progress.phase in _FINAL
        if progress.phase != self._phase:
            self._phase, self._training = progress.phase, ("", 0)
            if not final:
                self.write(f"{progress.phase}:")
        if progress.done == 0:
            self._calls_before = progress.spend.calls
        if progress.training is not None:
            self._train(progress, progress.training)
        elif progress.done == progress.of and (final or progress.step.startswith("rollouts")):
            self._finish_step(progress)
        elif progress.done:
            self._lines.report(f"  {progress.step}", progress.done, progress.of)

    def _finish_step(self, progress: Progress) -> None:
        """Write how many runs and calls a step took."""
        if progress.phase not in _FINAL:
            name = f"  {progress.step}"
        else:
            name = " ".join(dict.fromkeys((progress.phase, progress.step)))
        runs = plural(progress.of, "run")
        calls = plural(progress.spend.calls - self._calls_before, "LM call")
        self.write(f"{name}: {runs}, {calls}  {_total_line(progress.spend)}")

    def _train(self, progress: Progress, training: TrainingProgress) -> None:
        """Write a line when a training begins, and one for each quarter of it."""
        quarters = 4 * progress.done // progress.of if progress.of else 0
        name, reported = self._training
        if name != progress.step:
            steps = f": {plural(progress.of, 'step')}" if progress.of else ""
            self.write(f"  {progress.step}{steps}")
        elif quarters > reported:
            step = f"step {progress.done} of {progress.of}"
            line = ", ".join(filter(None, (step, training_line(training))))
            self.write(f"  {progress.step}: {line}")
        self._training = progress.step, quarters

    def candidate(self, candidate: Candidate, *, best: bool) -> None:
        if self._first is None and candidate.complete:
            self._first = candidate.score
        spent = f"  {_total_line(self._last.spend)}" if self._last else ""
        self.write(f"{candidate_line(candidate, self._first, best=best)}{spent}")

    def note(self, kind: str, data: Mapping[str, Any]) -> None:
        self.write(f"  {note_line(kind, data)}")

    def retry(self, attempt: int, wait: float, error: LMError) -> None:
        self.write(f"  {retry_line(attempt, wait, error)}")


class LivePanel(ProgressView):
    """Shows the current step in a panel below the candidates that were scored."""

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

    def __exit__(self, *exc_info: object) -> None:
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
            Text(one_line(now.step, 60)),
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
    """Describe a candidate in one line; compare its score with `first` unless that is None."""
    failures, checks = candidate.evaluation.failures, candidate.evaluation.checks
    score = change = NOTHING
    standing = ""
    if candidate.complete:
        score = percent(candidate.score)
        change = NOTHING if first is None else points(candidate.score - first)
    else:
        # Its score is of the harder examples: beside the other scores it would mislead.
        rows = len(candidate.evaluation.rows)
        standing = f", {standing_line(rows, candidate.of, stopped=candidate.stopped)}"
    return (
        f"{candidate.number:>3}  {score:>6}  {change:>6}  {candidate.name}{standing}"
        + (f", failures: {tally(failures)}" if failures else "")
        + (f", checks: {checks}" if checks else "")
        + ("  best so far" if best else "")
    )


def note_line(kind: str, data: Mapping[str, Any]) -> str:
    """Describe a note in one line."""
    if "message" in data:
        return f"{kind}: {one_line(str(data['message']))}"
    values = ", ".join(f"{name} {one_line(value, 80)}" for name, value in data.items())
    return f"{kind}: {values}" if values else kind


def retry_line(attempt: int, wait: float, error: LMError) -> str:
    """Describe a retry in one line."""
    return f"retrying in {wait:.1f} s (attempt {attempt} failed: {one_line(str(error), 120)})"


def _total_line(spend: Spend) -> str:
    return f"[total so far: {spend_line(spend)}]"
