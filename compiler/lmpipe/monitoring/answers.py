"""`AnswerStore`: the last answers of a server, so that feedback can be given on them."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmpipe.errors import StorageError
from lmpipe.foundation.exact_json import dump_json, load_json
from lmpipe.foundation.storing import storing

ANSWERS = "answers.sqlite"
KEPT = 10_000  # answers

_TABLE = (
    "CREATE TABLE IF NOT EXISTS answers (number INTEGER PRIMARY KEY, id TEXT UNIQUE, "
    "program TEXT, run TEXT, inputs BLOB, outputs BLOB)"
)
_PUT = "INSERT OR REPLACE INTO answers (id, program, run, inputs, outputs) VALUES (?, ?, ?, ?, ?)"
_FIND = "SELECT id, program, run, inputs, outputs FROM answers WHERE id = ?"
_DROP_TENTH = (
    "DELETE FROM answers WHERE number <= (SELECT min(number) + (max(number) - min(number)) / 10 "
    "FROM answers)"
)
_DROP = "DELETE FROM answers WHERE number <= (SELECT max(number) FROM answers) - ?"
_LARGEST = 1_000_000_000  # bytes of all answers
_MOST_WAITING = 500  # answers that are not written yet
_WAIT = 10.0  # seconds for another process that writes


@dataclass(frozen=True, slots=True)
class ServedAnswer:
    """An answer that was served.

    Args:
        id: that of the request, or of its row in a batch.
        program: the name of the program.
        run: the run that answered.
        inputs: the inputs, as JSON.
        outputs: the answer as the client got it, as JSON.
    """

    id: str
    program: str
    run: str
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]


class AnswerStore:
    """The last answers of a server, in a file of SQLite; threads and processes may share it.

    Answers are added to memory and written by `flush`; `find` sees both. Older ones are deleted:
    inputs are kept only for as long as feedback can be expected.

    Args:
        folder: holds the file; created if it is missing.
        keep: the number of answers that are kept, fewer if they have more than 1 GB.

    Raises:
        StorageError: if the file cannot be opened.
    """

    def __init__(self, folder: Path, *, keep: int = KEPT) -> None:
        with storing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self.path, self.keep = folder / ANSWERS, keep
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._waiting: dict[str, ServedAnswer] = {}
        with self._reporting():
            self._database = sqlite3.connect(
                self.path, timeout=_WAIT, check_same_thread=False, isolation_level=None
            )
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")
            self._database.execute(_TABLE)

    def add(self, answer: ServedAnswer) -> None:
        """Add an answer; one with the same id is replaced.

        Raises:
            StorageError: if many wait and cannot be written; they are then forgotten.
        """
        with self._lock:
            self._waiting[answer.id] = answer
            full = len(self._waiting) >= _MOST_WAITING
        if full:
            self.flush()

    def find(self, answer_id: str) -> ServedAnswer | None:
        """Return an answer, or None if it is not known, or not any more."""
        with self._lock:
            if found := self._waiting.get(answer_id):
                return found
        with self._reporting():
            row = self._database.execute(_FIND, (answer_id,)).fetchone()
        if row is None:
            return None
        found_id, program, run, inputs, outputs = row
        return ServedAnswer(found_id, program, run, load_json(inputs), load_json(outputs))

    def flush(self) -> None:
        """Write what was added, and delete what is too old.

        Raises:
            StorageError: if it cannot be written; it is then forgotten.
        """
        with self._writing:
            with self._lock:
                waiting = list(self._waiting.values())
            if not waiting:
                return
            try:
                self._write(waiting)
            finally:
                with self._lock:
                    for answer in waiting:
                        if self._waiting.get(answer.id) is answer:
                            del self._waiting[answer.id]

    def _write(self, answers: list[ServedAnswer]) -> None:
        rows = [
            (item.id, item.program, item.run, dump_json(item.inputs), dump_json(item.outputs))
            for item in answers
        ]
        database = self._database
        with self._reporting():
            database.execute("BEGIN IMMEDIATE")
            try:
                database.executemany(_PUT, rows)
                database.execute(_DROP, (self.keep,))
                if self._bytes() > _LARGEST:
                    database.execute(_DROP_TENTH)
                database.execute("COMMIT")
            except BaseException:
                database.execute("ROLLBACK")
                raise

    def _bytes(self) -> int:
        """Return the size of the file without the room of what was deleted, which is used again."""
        pages, free, size = (
            self._database.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)

    def close(self) -> None:
        """Write what was added, and close the file."""
        try:
            self.flush()
        finally:
            self._database.close()

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StorageError(
                f"{self.path} cannot be used: {error}; check the disk, or choose another folder"
            ) from error
