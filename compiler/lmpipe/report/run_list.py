"""The runs in a folder: one entry each, chosen and sorted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from lmpipe.compiling.run_folder import MANIFEST, read_manifest
from lmpipe.errors import ArtifactError, ConfigError
from lmpipe.monitoring.served_inputs import drift_of
from lmpipe.report import records
from lmpipe.report.run_files import parse_summary

Entry: TypeAlias = Mapping[str, Any]
SortKey: TypeAlias = Literal[
    "started", "program", "optimizer", "status", "score", "difference", "calls", "usd", "seconds"
]
SORT_KEYS: tuple[str, ...] = get_args(SortKey)

_DATE = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d)?)?", re.ASCII)
_FIELDS = {"score": "compiled"}  # sort keys that the entries call otherwise


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """Which runs are listed, and in what order.

    Args:
        program: a part of the program's name, in any case; `optimizer` likewise.
        finished: whether the compile has finished; None takes all.
        min_score: the lowest score of the compiled program on the test set.
        max_usd: the most that a run may have cost; runs of unknown cost are left out.
        since: the earliest start, as an ISO date or time; `until` is the latest, and a date means
            its whole day.
        sort: what to sort by; the largest, or the newest, is last.
        reverse: whether it is first.
        most: how many to list: those that sort last.

    Raises:
        ConfigError: if a date cannot be read, or the score is above 1.
    """

    program: str = ""
    optimizer: str = ""
    finished: bool | None = None
    min_score: float | None = None
    max_usd: float | None = None
    since: str = ""
    until: str = ""
    sort: SortKey = "started"
    reverse: bool = False
    most: int | None = None

    def __post_init__(self) -> None:
        for name in ("since", "until"):
            _check_date(name, getattr(self, name))
        if self.min_score is not None and self.min_score > 1:
            raise ConfigError(
                f"--min-score {self.min_score:g}: scores are between 0 and 1, so 80 % is 0.8"
            )

    def of(self, runs: Iterable[Entry]) -> list[Entry]:
        """Choose and sort entries."""
        found = sorted(filter(self._takes, runs), key=self._key)
        if self.most is not None:
            found = found[max(0, len(found) - self.most) :]
        return found[::-1] if self.reverse else found

    def _takes(self, run: Entry) -> bool:
        usd, score, started = run["usd"], run["compiled"], str(run["started"])
        return (
            self.program.lower() in run["program"].lower()
            and self.optimizer.lower() in run["optimizer"].lower()
            and (self.finished is None or self.finished == (run["status"] == "done"))
            and (self.min_score is None or (score is not None and score >= self.min_score))
            and (self.max_usd is None or (usd is not None and usd <= self.max_usd))
            and (not self.since or started >= self.since)
            # Manifests have ISO times, so that of a day begins with its date.
            and (not self.until or "" < started[: len(self.until)] <= self.until)
        )

    def _key(self, run: Entry) -> tuple[Any, ...]:
        value = run[_FIELDS.get(self.sort, self.sort)]
        known = value is not None
        return known, value if known else 0, run["started"], run["folder"]


def _check_date(name: str, text: str) -> None:
    try:
        # Of the forms of ISO 8601 only the one that manifests have, as texts are compared.
        if text and (_DATE.fullmatch(text) is None or not datetime.fromisoformat(text)):
            raise ValueError(text)
    except ValueError as error:
        raise ConfigError(
            f"--{name} {text}: expected a date or a time such as 2026-11-26 or 2026-11-26T18:00"
        ) from error


def list_runs(folder: Path) -> list[Entry]:
    """Summarize the manifests in a folder, oldest first; damaged ones have the status `damaged`."""
    found = [_read(file.parent) for file in folder.glob(f"*/{MANIFEST}")]
    return sorted(found, key=lambda run: (run["started"], run["folder"]))


def _read(folder: Path) -> Entry:
    try:
        return _entry(folder, parse_summary(read_manifest(folder), folder))
    except ArtifactError:
        return _entry(folder, None)


def _entry(folder: Path, run: records.RunSummary | None) -> Entry:
    test, total = run and run.test, run.spend.total if run and run.spend else None
    return {
        "folder": str(folder),
        "started": run.started if run else "",
        "program": run.program.name if run else "",
        "status": run.status if run else "damaged",
        "optimizer": run.optimizer.name if run else "",
        "lm": str(run.student) if run else "",
        "baseline": test.scores[test.baseline].score if test else None,
        "compiled": test.scores["compiled"].score if test else None,
        "difference": test.difference if test else None,
        "interval": list(test.interval) if test else None,
        "calls": total.calls if total else None,
        "usd": total.usd if total else None,
        "seconds": run.seconds if run else None,
        "drift": _drift(folder),
    }


def _drift(folder: Path) -> dict[str, Any] | None:
    """Return how served inputs leave those of the compile; None if they do not, or nobody knows."""
    try:
        drift = drift_of(folder)
    except ArtifactError:
        return None  # the table shows what is known of the run
    return drift.to_json() if drift else None
