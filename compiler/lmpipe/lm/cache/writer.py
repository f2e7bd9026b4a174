"""The thread that writes: it stores what has arrived, many replies in one transaction."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

from lmpipe.lm.cache import database
from lmpipe.lm.cache.connection import Connection, Report
from lmpipe.lm.cache.entry import encode
from lmpipe.lm.request import Reply, Request

# Seconds to wait for more replies: what a killed process can lose, beside one transaction.
_LINGER = 0.01
_MAX_REPLIES, _MAX_CHARACTERS = 50_000, 64 * 2**20  # that wait


class Writer:
    """Takes replies at once and has a thread store them soon.

    The thread lives while replies arrive. It is not a daemon, so Python waits for it at exit, also
    in workers of multiprocessing.

    Args:
        connection: the connection to write with, which nothing else uses.
        size_limit: maximum bytes of the database; beyond it the oldest replies are dropped.
        report: takes what the user should know.
    """

    def __init__(self, connection: Connection, *, size_limit: int, report: Report) -> None:
        self._connection = connection
        self._size_limit = size_limit
        self._report = report
        self._changed = threading.Condition()
        self._waiting: dict[str, tuple[Request, Reply]] = {}
        self._storing: dict[str, tuple[Request, Reply]] = {}
        self._characters = 0  # of the replies that wait
        self._batches = 0  # that were stored
        self._thread: threading.Thread | None = None

    def add(self, key: str, request: Request, reply: Reply) -> None:
        """Have a reply stored soon, or drop it if too many are waiting."""
        with self._changed:
            if len(self._waiting) < _MAX_REPLIES and self._characters < _MAX_CHARACTERS:
                self._waiting[key] = (request, reply)
                self._characters += len(reply.text)
            else:
                self._report_failure("too many replies are waiting")
        self._work()

    def find(self, key: str) -> Reply | None:
        """Return a reply that is not stored yet, or None."""
        found = self._waiting.get(key) or self._storing.get(key)
        return found[1] if found else None

    def flush(self) -> None:
        """Return when everything added before is stored, or was dropped with a report."""
        with self._changed:
            last = self._batches + bool(self._storing) + bool(self._waiting)
            self._work()
            self._changed.wait_for(lambda: self._batches >= last)

    def _work(self) -> None:
        """Start the thread if there is work and none; if Python is exiting, work here and now."""
        with self._changed:
            if not self._waiting or self._thread is not None:
                return
            if threading.main_thread().is_alive():
                thread = threading.Thread(target=self._run, name="lmpipe-cache", daemon=False)
                with suppress(RuntimeError):  # Python has just begun to exit
                    thread.start()
                    self._thread = thread
                    return
        self._store_waiting()

    def _run(self) -> None:
        time.sleep(_LINGER)
        while self._store_waiting():
            time.sleep(_LINGER)

    def _store_waiting(self) -> bool:
        """Store what waits; if there is nothing, return False and forget the thread."""
        with self._changed:
            if not self._waiting:
                self._thread = None
                return False
            self._storing, self._waiting, self._characters = self._waiting, {}, 0
        rows: list[database.Row] = []
        for key, (request, reply) in self._storing.items():
            try:
                rows.append((key, request.lm.model, encode(key, request, reply)))
            except (TypeError, ValueError) as error:
                self._report_failure(error)
        try:
            self._connection.use(lambda db: database.store(db, rows))
            self._connection.use(lambda db: database.drop_to_size(db, self._size_limit))
        except Exception as error:  # noqa: BLE001 - whatever it is, the run must continue
            self._report_failure(error)
        with self._changed:
            self._storing = {}
            self._batches += 1
            self._changed.notify_all()
        return True

    def _report_failure(self, reason: Exception | str) -> None:
        remedy = "check free space, permissions and other processes, or choose another folder"
        what = f"could not be written ({reason}), so later processes will call the LM again"
        self._report("write", f"{what}: {remedy} with `cache=` or $LMPIPE_CACHE")
