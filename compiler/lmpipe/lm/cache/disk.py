"""diskcache that holds bytes only and unpickles nothing.

diskcache unpickles any row that says it is pickled, `JSONDisk` too (CVE-2025-69872), so whoever
can write to a cache folder could run code in the processes that read it. Here every road to
`pickle.load` is closed, and so are the rows that would make it read or delete files elsewhere.
"""

from __future__ import annotations

import math
import re
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import diskcache
from diskcache.core import MODE_RAW

from lmpipe.lm.cache.database import DATABASE, SETTINGS, checked_value, open_database

_VALUE_FILE = re.compile(r"[0-9a-f]{2}[/\\][0-9a-f]{2}[/\\][0-9a-f]{28}\.val")
_ROWS_AT_ONCE = 64
_ROWS_DROPPED_AT_ONCE = 10_000


# An entry to be stored: its key, the LM's name, its bytes.
Row = tuple[str, str, bytes]


class BytesDisk(diskcache.Disk):  # type: ignore[misc]
    """Keys are str, values are bytes."""

    def put(self, key: object) -> tuple[str, bool]:
        if type(key) is not str:
            raise ValueError(f"a key must be str, got {type(key).__name__}")
        return key, True

    def get(self, key: object, raw: object) -> str:
        if not raw or type(key) is not str:
            raise ValueError("its key is pickled")
        return key

    def store(
        self, value: object, read: bool, key: object = diskcache.UNKNOWN
    ) -> tuple[int, int, str | None, Any]:
        if read or type(value) is not bytes:
            raise ValueError(f"a value must be bytes, got {type(value).__name__}")
        return 0, MODE_RAW, None, sqlite3.Binary(value)

    def fetch(self, mode: object, filename: object, value: object, read: bool) -> bytes:
        return checked_value(Path(self._directory), mode, value)

    def remove(self, file_path: object) -> None:
        if isinstance(file_path, str) and _VALUE_FILE.fullmatch(file_path):
            super().remove(file_path)


class ReplyDisk(diskcache.Cache):  # type: ignore[misc]
    """The connection that writes. The caller makes sure that one thread uses it at a time.

    Args:
        folder: where the database lies.
        size_limit: bytes of the database, above which the oldest entries are dropped.
        busy_timeout: seconds to wait for other processes' locks.

    Raises:
        sqlite3.Error, OSError: if the folder or the database cannot be used.
    """

    def __init__(self, folder: Path, *, size_limit: int, busy_timeout: float) -> None:
        self._shared: sqlite3.Connection | None = None
        self._abandoned: list[sqlite3.Connection] = []
        self._busy_timeout = busy_timeout
        self._file: tuple[int, int] | None = None
        # Every setting is given, so that none is taken from the database.
        settings = {**SETTINGS, "size_limit": size_limit}
        try:
            super().__init__(str(folder), timeout=busy_timeout, disk=BytesDisk, **settings)
            self._file = _file_of(self._path)
        except BaseException:
            self.close()
            raise

    @property
    def _path(self) -> Path:
        return Path(self._directory, DATABASE)

    @property
    def _con(self) -> sqlite3.Connection:
        # diskcache would open one for each thread: three open files for each of hundreds.
        if self._shared is None:
            self._shared = open_database(self._path, self._busy_timeout)
        return self._shared

    def is_current(self) -> bool:
        """Whether the database is still the file of that name: neither deleted nor replaced."""
        return _file_of(self._path) == self._file

    def store(self, rows: Sequence[Row], *, replace: bool = True) -> int:
        """Store entries in one transaction, and drop old ones if the database is too big then.

        Args:
            rows: the entries.
            replace: whether an entry that is there already is replaced, or else left alone.

        Returns:
            How many were stored.

        Raises:
            sqlite3.Error, OSError: if they cannot be written; then none is.
        """
        now, changed = time.time(), 0
        with self._transaction():
            for start in range(0, len(rows), _ROWS_AT_ONCE):
                some = rows[start : start + _ROWS_AT_ONCE]
                values = [
                    value for key, model, data in some for value in (key, model, now, now, data)
                ]
                statement = _insert(len(some), replace=replace)
                changed += self._con.execute(statement, values).rowcount
        self.drop_to(self.size_limit)
        return changed

    def drop_to(self, size: int) -> int:
        """Drop the entries stored longest ago until the database has at most so many bytes.

        Returns:
            How many were dropped.

        Raises:
            sqlite3.Error, OSError: if that cannot be written.
        """
        dropped = 0
        while (used := self._used()) > size:
            share = math.ceil(len(self) * (used - size) / used)
            some = min(max(share, 1), _ROWS_DROPPED_AT_ONCE)
            if not (gone := self.drop("ORDER BY store_time LIMIT ?", some)):
                break
            dropped += gone
        return dropped

    def drop(self, which: str, *values: object) -> int:
        """Drop the entries that the end of an SQL statement chooses.

        Raises:
            sqlite3.Error, OSError: if that cannot be written; then none is dropped.
        """
        chosen = f"rowid IN (SELECT rowid FROM Cache {which})"  # noqa: S608 - ours, no value in it
        with self._transaction():
            # The first version kept long replies in files.
            files = self._con.execute(
                f"SELECT filename FROM Cache WHERE filename IS NOT NULL AND {chosen}",  # noqa: S608
                values,
            ).fetchall()
            deleted = self._con.execute(f"DELETE FROM Cache WHERE {chosen}", values)  # noqa: S608
            dropped = deleted.rowcount
        for (name,) in files:
            self._disk.remove(name)
        return dropped

    def shrink(self) -> None:
        """Give the space of dropped entries back to the file system, if nobody is in the way."""
        self._con.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Close the connection; the next use opens it again."""
        connection, self._shared = self._shared, None
        if connection is not None:
            connection.close()

    def after_fork(self) -> None:
        """Leave the connection to the parent: closing it here would drop the parent's locks."""
        if self._shared is not None:
            self._abandoned.append(self._shared)
        self._shared = None
        self._txn_id = None

    def _used(self) -> int:
        """Bytes that entries take, and the files of the first version."""
        ((free,),) = self._con.execute("PRAGMA freelist_count").fetchall()
        used: int = self.volume() - free * self._page_size
        return used

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            with self.transact():
                yield
        except diskcache.Timeout as error:
            # diskcache calls every failure to begin so.
            if isinstance(error.__context__, sqlite3.Error):
                raise error.__context__ from None
            raise sqlite3.OperationalError("another process holds the database") from error


@cache
def _insert(rows: int, *, replace: bool) -> str:
    # Many rows in one statement: each statement hands the interpreter to other threads and has
    # to get it back.
    conflict = (
        "DO UPDATE SET store_time = excluded.store_time, expire_time = NULL, tag = excluded.tag, "
        "size = 0, mode = excluded.mode, filename = NULL, value = excluded.value"
        if replace
        else "DO NOTHING"
    )
    row = f"(?, 1, ?, ?, ?, 0, {MODE_RAW}, ?)"
    return (
        "INSERT INTO Cache (key, raw, tag, store_time, access_time, size, mode, value) "  # noqa: S608
        f"VALUES {', '.join([row] * rows)} ON CONFLICT (key, raw) {conflict}"
    )


def _file_of(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
