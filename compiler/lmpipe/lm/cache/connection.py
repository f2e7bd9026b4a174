"""A connection to the database that opens when it is needed and replaces a damaged file."""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

from lmpipe.lm.cache import database

T = TypeVar("T")

# Takes a subject, which is reported once, and the end of a sentence that begins "the cache …".
Report = Callable[[str, str], None]


class Connection:
    """One connection to the database of a cache. Safe to use from any thread.

    `timeout` is the seconds that a statement waits for locks of other processes, `create` whether
    a missing database is created.
    """

    def __init__(self, folder: Path, *, timeout: float, create: bool, report: Report) -> None:
        self.lock = threading.RLock()
        self._folder = folder
        self._timeout = timeout
        self._create = create
        self._report = report
        self._db: sqlite3.Connection | None = None
        self._file: int | None = None
        with _forking:
            _connections.add(self)

    def __del__(self) -> None:
        self.close()

    def use(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        """Run a function on the database, or return None if there is none.

        Raises one of `database.ERRORS` if the database cannot be used.
        """
        with self.lock:
            if self._create:
                self._close_replaced()
            try:
                result = self._run(work)
                return result if result or not self._close_replaced() else self._run(work)
            except database.ERRORS as error:
                if self._file is None or not database.is_damage(error):
                    raise
                self.close()
                moved = database.set_aside(self._folder, self._file, self._timeout)
                if moved is not None:
                    what = f"was damaged ({error}) and is started anew: the old one is {moved}"
                    self._report(moved.name, f"{what}, delete it if you do not need it")
                return self._run(work)

    def close(self) -> None:
        """Close the database; the next use opens it again."""
        with self.lock:
            if self._db is not None:
                self._db.close()
                self._db = None

    def _close_replaced(self) -> bool:
        """Close the database and return True if the file was deleted or replaced."""
        if self._db is None or self._file == database.file_id(self._folder):
            return False
        self.close()
        self._report("replaced", "was deleted or replaced while in use: it is opened again")
        return True

    def _run(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        if self._db is None:
            self._file = database.file_id(self._folder)
            self._db = database.connect(self._folder, self._timeout, create=self._create)
            if self._db is None:
                return None
            self._file = database.file_id(self._folder)
            self._db.text_factory = bytes  # text in place of a value must not raise
        return work(self._db)


# SQLite must not cross a fork: a child inherits the locks inside the library that other threads
# hold at that moment (one fork in eight hangs while a thread writes) and trusts file locks that
# only its parent has.
_connections: weakref.WeakSet[Connection] = weakref.WeakSet()
_forking = threading.RLock()
_held = ExitStack()


def _before_fork() -> None:
    _held.enter_context(_forking)
    for connection in list(_connections):
        _held.enter_context(connection.lock)
        connection.close()


if hasattr(os, "register_at_fork"):
    close = _held.close
    os.register_at_fork(before=_before_fork, after_in_parent=close, after_in_child=close)
