"""The thread that writes: it stores what has arrived, many replies in one transaction."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from math import inf
from pathlib import Path

from lmpipe.errors import StorageError
from lmpipe.foundation.line_file import LineFile
from lmpipe.lm.cache import database
from lmpipe.lm.cache.connection import Connection, Report
from lmpipe.lm.cache.entry import encode, to_line
from lmpipe.lm.request import Reply, Request

UNSAVED = "unsaved-{}.jsonl"  # with the process's id: replies that were not stored

# Seconds to wait for more replies: what a killed process can lose, beside one transaction.
_LINGER = 0.01
_MAX_REPLIES, _MAX_CHARACTERS = 50_000, 64 * 2**20  # that wait


class Writer:
    """Takes replies at once and has one thread store them soon.

    Python waits for the thread before the process ends, also in workers of multiprocessing.
    `patience` is the seconds to wait for a locked database before replies are kept in a file in
    `folder` that can be imported, `size_limit` the maximum bytes of the database; beyond it the
    oldest replies are dropped.
    """

    def __init__(
        self,
        folder: Path,
        connection: Connection,
        *,
        patience: float,
        size_limit: int,
        report: Report,
    ) -> None:
        self._folder = folder
        self._connection = connection
        self._patience = patience
        self._size_limit = size_limit
        self._report = report
        self._lock = threading.RLock()
        self._waiting: dict[str, tuple[Request, Reply]] = {}
        self._storing: dict[str, tuple[Request, Reply]] = {}
        self._characters = 0  # of the replies that wait
        self._ends = inf  # the time at which nothing is waited for any more
        self._thread = ThreadPoolExecutor(1, "lmpipe-cache")
        self._batch: Future[None] | None = None  # the last one

    def add(self, key: str, request: Request, reply: Reply) -> None:
        """Have a reply stored soon, or drop it if too many are waiting."""
        with self._lock:
            if len(self._waiting) >= _MAX_REPLIES or self._characters >= _MAX_CHARACTERS:
                self._report_failure("too many replies are waiting")
                return
            scheduled = bool(self._waiting)
            self._waiting[key] = (request, reply)
            self._characters += len(reply.text)
            if not scheduled:
                try:
                    self._batch = self._thread.submit(self._store_waiting)
                except RuntimeError:  # Python is exiting
                    self._store_waiting()

    def find(self, key: str) -> Reply | None:
        """Return a reply that is not stored yet, or None."""
        found = self._waiting.get(key) or self._storing.get(key)
        return found[1] if found else None

    def flush(self) -> None:
        """Return when everything added before is stored, or was dropped with a report."""
        if self._batch is not None:
            self._batch.result()

    def close(self) -> None:
        """Flush and end the thread, within the time for a locked database; a later reply starts
        another.
        """
        with self._lock:
            thread, self._thread = self._thread, ThreadPoolExecutor(1, "lmpipe-cache")
        self._ends = time.monotonic() + self._patience
        thread.shutdown()
        self._ends = inf

    def _store_waiting(self) -> None:
        time.sleep(_LINGER)
        with self._lock:
            self._storing, self._waiting, self._characters = self._waiting, {}, 0
        rows: list[database.Row] = []
        try:
            for key, (request, reply) in self._storing.items():
                try:
                    rows.append((key, request.lm.model, encode(key, request, reply)))
                except TypeError as error:  # text that is not Unicode
                    self._report_failure(error)
            self._store(rows)
        except Exception as error:  # noqa: BLE001 - whatever it is, the run must continue
            if not (_is_locked(error) and self._keep_aside(rows)):
                self._report_failure(error)
        self._storing = {}

    def _store(self, rows: list[database.Row]) -> None:
        give_up = min(time.monotonic() + self._patience, self._ends)
        while True:
            try:
                self._connection.use(lambda db: database.store(db, rows))
                self._connection.use(lambda db: database.drop_to_size(db, self._size_limit))
                return
            except database.ERRORS as error:
                if not _is_locked(error) or time.monotonic() >= give_up:
                    raise
            time.sleep(_LINGER)

    def _keep_aside(self, rows: list[database.Row]) -> bool:
        """Append replies to a file for `lmpipe cache import`; return whether that succeeded."""
        path, now = self._folder / UNSAVED.format(os.getpid()), datetime.now(UTC)
        try:
            with closing(LineFile(path)) as file:
                for key, _, entry in rows:
                    file.append(to_line(key, entry, stored=now.isoformat()).rstrip())
        except StorageError:
            return False
        what = "could not be written because another process holds it locked"
        self._report(
            "locked", f"{what}: the replies are in {path}; `lmpipe cache import` adds them"
        )
        return True

    def _report_failure(self, reason: Exception | str) -> None:
        remedy = "check free space, permissions and other processes, or choose another folder"
        what = f"could not be written ({reason}), so later processes will call the LM again"
        self._report("write", f"{what}: {remedy} with `cache=` or $LMPIPE_CACHE")


def _is_locked(error: Exception) -> bool:
    return isinstance(error, database.ERRORS) and "locked" in str(error)
