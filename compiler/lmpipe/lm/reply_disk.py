"""diskcache that holds bytes only and unpickles nothing.

diskcache unpickles any row that says it is pickled, `JSONDisk` too (CVE-2025-69872), so whoever
can write to a cache folder could run code in the processes that read it. Here every road to
`pickle.load` is closed, and so are the rows that would make it read or delete files elsewhere.
"""

from __future__ import annotations

import itertools
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import diskcache
from diskcache.core import DEFAULT_SETTINGS, METADATA, MODE_BINARY, MODE_PICKLE, MODE_RAW

from lmpipe.errors import ConfigError

DATABASE = "cache.db"
_VALUE_FILE = re.compile(r"[0-9a-f]{2}[/\\][0-9a-f]{2}[/\\][0-9a-f]{28}\.val")
_COLUMNS = {
    *("rowid", "key", "raw", "store_time", "expire_time", "access_time", "access_count"),
    *("tag", "size", "mode", "filename", "value"),
}


class ForeignFileError(sqlite3.DatabaseError):
    """A database that SQLite can read but that diskcache did not write."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.sqlite_errorcode = sqlite3.SQLITE_NOTADB


class BytesDisk(diskcache.Disk):  # type: ignore[misc]
    """Keys are str, values are bytes.

    Raises:
        ConfigError: on a pickled value, which only somebody else can have put there.
        ValueError: on anything else that is not ours.
    """

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
        stored: tuple[int, int, str | None, Any] = super().store(value, False, key=key)
        return stored

    def fetch(self, mode: object, filename: object, value: object, read: bool) -> bytes:
        if mode == MODE_RAW and type(value) is bytes:
            return value
        if mode == MODE_BINARY and isinstance(filename, str) and _VALUE_FILE.fullmatch(filename):
            try:
                return Path(self._directory, filename).read_bytes()
            except FileNotFoundError as error:
                # An OSError would make diskcache report a plain miss.
                raise ValueError("its value file is missing") from error
        if mode == MODE_PICKLE:
            # No accident writes this, so it is no damage to be passed over either.
            raise ConfigError(
                f"the reply cache {self._directory} holds a pickled entry, which lmpipe never "
                "writes and did not load: somebody else can write to that folder\n"
                "  find out who, then delete the folder or choose another one ($LMPIPE_CACHE)"
            )
        raise ValueError(f"it holds no bytes of ours: mode {mode!r}")

    def remove(self, file_path: object) -> None:
        if isinstance(file_path, str) and _VALUE_FILE.fullmatch(file_path):
            super().remove(file_path)


class ReplyDisk(diskcache.Cache):  # type: ignore[misc]
    """One SQLite connection for all threads; the caller makes sure that one uses it at a time.

    diskcache opens a connection for each thread, which is three open files for each of the
    hundreds of threads that may run sync `forward` methods.

    Args:
        folder: where the database and the value files lie.
        size_limit: bytes, above which the oldest entries are dropped.
        busy_timeout: seconds to wait for other processes' locks.

    Raises:
        sqlite3.Error, OSError: if the folder or the database cannot be used.
    """

    def __init__(self, folder: Path, *, size_limit: int, busy_timeout: float) -> None:
        self._shared: sqlite3.Connection | None = None
        self._abandoned: list[sqlite3.Connection] = []
        self._busy_timeout = busy_timeout
        # Every setting is given, so that none is taken from the database.
        settings = {**DEFAULT_SETTINGS, "size_limit": size_limit, "cull_limit": 10}
        try:
            super().__init__(str(folder), timeout=busy_timeout, disk=BytesDisk, **settings)
        except BaseException:
            self.close()
            raise

    @property
    def _con(self) -> sqlite3.Connection:
        if self._shared is None:
            path = Path(self._directory, DATABASE)
            connection = _connect(path, self._busy_timeout)
            try:
                _check(connection)
                for name in ("cache_size", "mmap_size", "synchronous"):
                    connection.execute(f"PRAGMA {name} = {DEFAULT_SETTINGS['sqlite_' + name]}")
            except BaseException:
                connection.close()
                raise
            self._shared = connection
        return self._shared

    def set_bytes(self, key: str, value: bytes) -> None:
        """Store a value.

        Raises:
            sqlite3.Error, OSError: if it cannot be written.
        """
        try:
            self.set(key, value)
        except diskcache.Timeout as error:
            raise sqlite3.OperationalError("another process holds the database") from error

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


def move_aside(folder: Path, *, busy_timeout: float) -> Path | None:
    """Rename a damaged database so that a fresh one can take its place.

    Returns:
        Where it lies now, or None if it is sound, as when another process was quicker.

    Raises:
        sqlite3.Error, OSError: if it cannot be renamed.
    """
    path = folder / DATABASE
    # A database of its own as the lock: portable, and released when its holder dies.
    with closing(_connect(folder / "moving.lock", busy_timeout)) as lock:
        lock.execute("BEGIN EXCLUSIVE")
        if _is_sound(path, busy_timeout):
            return None
        names = (folder / f"{DATABASE}.corrupt-{number}" for number in itertools.count(1))
        target = next(name for name in names if not name.exists())
        path.rename(target)
        for suffix in ("-wal", "-shm"):
            companion = Path(f"{path}{suffix}")
            if companion.exists():
                companion.rename(f"{target}{suffix}")
        return target


def is_damage(error: Exception) -> bool:
    """Whether an SQLite error means that the database file is damaged or foreign."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _connect(path: Path, busy_timeout: float) -> sqlite3.Connection:
    return sqlite3.connect(
        path, timeout=busy_timeout, isolation_level=None, check_same_thread=False
    )


def _check(connection: sqlite3.Connection) -> None:
    """Refuse a database that would set attributes of ours or break diskcache's statements."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    if "Settings" in tables:
        for key, value in connection.execute("SELECT key, value FROM Settings"):
            if key not in DEFAULT_SETTINGS and not (key in METADATA and type(value) is int):
                raise ForeignFileError(f"the setting {key!r} is not one of diskcache's")
    if "Cache" in tables:
        columns = {row[1] for row in connection.execute("PRAGMA table_info(Cache)")}
        if columns != _COLUMNS:
            raise ForeignFileError("the table Cache is not diskcache's")


def _is_sound(path: Path, busy_timeout: float) -> bool:
    if not path.exists():
        return True
    try:
        with closing(_connect(path, busy_timeout)) as connection:
            _check(connection)
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            return bool(verdict == "ok")
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        return False
