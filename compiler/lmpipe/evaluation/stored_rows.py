"""Rows on disk: written when they end, read on access."""

from __future__ import annotations

import os
import tempfile
import threading
import weakref
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self, overload

import orjson

from lmpipe.data.example import Example
from lmpipe.errors import DataError
from lmpipe.evaluation.results import Failure, Row
from lmpipe.evaluation.row_files import check_rows_file, json_line, write_rows
from lmpipe.foundation.exact_json import load_json
from lmpipe.foundation.storing import open_own, storing
from lmpipe.metrics import Score
from lmpipe.state.trace import CheckCounts, Trace


@dataclass(frozen=True, slots=True)
class StoredRow(Row):
    """A row that was read from a file, with the contents of `Row.to_json`.

    Its prediction and its example's values are JSON. It has replies, but no trace, LM calls or
    time.
    """

    stored_replies: tuple[str, ...] = ()
    stored_checks: CheckCounts = field(default_factory=CheckCounts)

    @property
    def replies(self) -> tuple[str, ...]:
        return self.stored_replies

    @property
    def checks(self) -> CheckCounts:
        return self.stored_checks


class StoredRows(Sequence[Row]):
    """The rows in a file of JSON lines, each read on access; the file closes with this object.

    `ends` are the offsets of the lines' ends in bytes. `inputs` are the fields of the examples
    that are inputs: pairs of the first row to which the names apply and the names, in order.
    """

    def __init__(
        self, file: IO[bytes], ends: Sequence[int], inputs: Sequence[tuple[int, tuple[str, ...]]]
    ) -> None:
        self._file = file
        self._ends = ends
        self._inputs = inputs
        self._lock = threading.Lock()
        weakref.finalize(self, file.close)

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | Sequence[Row]:
        if isinstance(index, slice):
            return tuple(self._read(number) for number in range(*index.indices(len(self))))
        number = index + len(self) if index < 0 else index
        if not 0 <= number < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        return self._read(number)

    def _read(self, number: int) -> Row:
        start = self._ends[number - 1] if number else 0
        after = bisect_right(self._inputs, number, key=lambda item: item[0])
        with self._lock:
            self._file.seek(start)
            line = self._file.read(self._ends[number] - start)
        try:
            return _row(load_json(line), self._inputs[after - 1][1])
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise DataError(
                f"{self._file.name}: row {number + 1} cannot be read back: {error}; the file was "
                "changed after it was written"
            ) from error


def _row(value: dict[str, Any], inputs: Sequence[str]) -> Row:
    failure = value["failure"]
    return StoredRow(
        index=value["index"],
        example=Example(**value["example"]).with_inputs(*inputs),
        prediction=value["prediction"],
        score=Score(
            value["score"],
            value["feedback"],
            value["parts"],
            value.get("predictor_feedback", {}),
        ),
        failure=Failure(**failure) if failure else None,
        trace=Trace(),
        calls=(),
        seconds=0.0,
        stored_replies=tuple(value["replies"]),
        stored_checks=CheckCounts(**value.get("checks", {})),
    )


class RowWriter:
    """Writes rows to a `.jsonl` or `.csv` file without keeping them in memory.

    JSON lines are written to `<name>.part`, which is renamed when it is complete. A crash leaves
    the rows so far, and an earlier file of the final name. The columns of a CSV are known only at
    the end, so its rows are kept in an unnamed temporary file until then.

    Raises:
        DataError: if the name has another ending, or its folder is missing.
        StorageError: if the file cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path).expanduser().resolve()
        check_rows_file(self._path)
        self._part: Path | None = None
        self._ends = array("Q")
        self._inputs: list[tuple[int, tuple[str, ...]]] = []
        if self._path.suffix.lower() == ".jsonl":
            self._part = self._path.with_name(f"{self._path.name}.part")
            descriptor = open_own(self._part, os.O_WRONLY | os.O_TRUNC)
            self._file: IO[bytes] = os.fdopen(descriptor, "wb")
        else:
            with storing(self._path):
                self._file = tempfile.TemporaryFile(dir=self._path.parent)  # noqa: SIM115

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._file.close()

    def add(self, row: Row) -> None:
        """Write the next row; raise a DataError if a value is not JSON."""
        line = json_line(row)
        with storing(self._path):
            self._file.write(line)
        names = tuple(row.example.inputs)
        if not self._inputs or names != self._inputs[-1][1]:
            self._inputs.append((len(self._ends), names))
        self._ends.append((self._ends[-1] if self._ends else 0) + len(line))

    def finish(self) -> StoredRows:
        """Complete the file, give it its name, and return its rows."""
        with storing(self._path):
            if self._part is None:
                rows = StoredRows(self._file, self._ends, self._inputs)
                write_rows(self._path, rows)
                return rows
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            os.replace(self._part, self._path)
            return StoredRows(self._path.open("rb"), self._ends, self._inputs)
