"""A watcher of a search that records all events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmpipe.evaluation.results import Row
from lmpipe.optimize.engine.events import Candidate, Progress, Rollout


class Recorder:
    """The events of a search, in order."""

    def __init__(self) -> None:
        self.candidates: list[Candidate] = []
        self.rollouts: list[Rollout] = []
        self.rows: list[tuple[str, Row]] = []
        self.notes: list[tuple[str, Mapping[str, Any]]] = []

    def progress(self, progress: Progress) -> None:
        """Ignore progress."""

    def candidate(self, candidate: Candidate, *, best: bool) -> None:
        self.candidates.append(candidate)

    def rollout(self, rollout: Rollout) -> None:
        self.rollouts.append(rollout)

    def row(self, subject: str, row: Row) -> None:
        self.rows.append((subject, row))

    def note(self, kind: str, data: Mapping[str, Any]) -> None:
        self.notes.append((kind, data))

    def of(self, subject: str) -> list[Row]:
        """The rows of one subject, such as `trial`."""
        return [row for name, row in self.rows if name == subject]
