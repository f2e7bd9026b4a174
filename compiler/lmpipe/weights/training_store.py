"""Finished trainings: their records, kept beside the weights and in cassettes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import orjson

from lmpipe.errors import TrainingError
from lmpipe.foundation.atomic_files import home_folder, write_file
from lmpipe.foundation.canonical_json import digest, pretty_json
from lmpipe.foundation.storing import storing
from lmpipe.weights.trainer import Curve, TrainingResult

ROWS = "rows.jsonl"
_RECORD = "record.json"
_KIND = "training"  # of the records in cassettes


@dataclass(frozen=True)
class TrainingRecord:
    """What is known of a finished training.

    It has the hash of the weights, the number of rows, the base `model` and its `revision`.
    `model` is the provider's name of the result; empty for weights in a folder.
    """

    sha256: str
    rows: int
    base: Mapping[str, str]
    curve: Curve
    held_out: Curve
    model: str = ""

    @staticmethod
    def of(result: TrainingResult, rows: bytes) -> TrainingRecord:
        """Make the record of a training from its result and its row file."""
        count, base = rows.count(b"\n"), dict(result.base)
        return TrainingRecord(result.hash, count, base, result.curve, result.held_out, result.model)

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON; equal trainings give equal JSON."""
        value = asdict(self)
        return value if self.model else {k: v for k, v in value.items() if k != "model"}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> TrainingRecord:
        """Read what `to_json` returned, or raise a ValueError."""
        try:
            curves = {
                name: tuple((int(step), float(loss)) for step, loss in value[name])
                for name in ("curve", "held_out")
            }
            return TrainingRecord(**{**value, **curves})
        except (TypeError, LookupError) as error:
            raise ValueError(f"not the record of a training: {error}") from error


@runtime_checkable
class RecordStore(Protocol):
    """A store of JSON records by kind and subject; cassettes are such stores."""

    def get_record(self, kind: str, subject: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return the record about a subject, or None if it has to be made."""

    def put_record(self, kind: str, subject: Mapping[str, Any], value: Mapping[str, Any]) -> None:
        """Record a value about a subject."""


class TrainingStore:
    """Finds finished trainings, so that none is repeated.

    The record of a training is in the folder of its weights, by default in the user's cache
    folder. A cassette that is recorded or replayed has it too: a replay needs the record but not
    the weights.
    """

    def __init__(self, folder: Path | None = None, recording: RecordStore | None = None) -> None:
        self._folder = folder or adapters_folder()
        self._recording = recording

    def folder_of(self, job: Mapping[str, Any]) -> Path:
        """Return the folder for the weights of a job; `job` is all that identifies it, as JSON."""
        return self._folder / digest(job)[:32]

    def find(self, job: Mapping[str, Any]) -> TrainingRecord | None:
        """Return the record of a finished training, or None if it has to be trained.

        A cassette that is replayed must have it, undamaged.
        """
        if self._recording is not None:
            value = self._recording.get_record(_KIND, job)
            try:
                if value is not None:
                    return TrainingRecord.from_json(value)
            except ValueError as error:
                raise TrainingError(
                    f"the cassette's record of a training cannot be read ({error}): record it again"
                ) from error
        try:
            saved = orjson.loads((self.folder_of(job) / _RECORD).read_bytes())
            record = TrainingRecord.from_json(saved)
        except (OSError, ValueError):
            return None  # missing or damaged: the trainer checks the weights again
        if self._recording is not None:
            self._recording.put_record(_KIND, job, record.to_json())
        return record

    def save(self, job: Mapping[str, Any], record: TrainingRecord, rows: Path) -> None:
        """Move the rows to the folder of the weights, and write the record last."""
        folder = self.folder_of(job)
        with storing(folder / ROWS):
            os.replace(rows, folder / ROWS)
        write_file(folder / _RECORD, pretty_json(record.to_json()))
        if self._recording is not None:
            self._recording.put_record(_KIND, job, record.to_json())


def adapters_folder() -> Path:
    """The folder of trained weights, in $LMPIPE_HOME or in the user's cache folder."""
    return home_folder() / "adapters"
