"""The file of the reply cache: opening, checking, reading, and moving it aside when damaged.

The reader works without diskcache, which a process that finds all it asks for never imports.
"""

from __future__ import annotations

import itertools
import sqlite3
from contextlib import closing
from pathlib import Path

from lmpipe.errors import ConfigError

DATABASE = "cache.db"

# What using a database can raise.
DATABASE_ERRORS = (sqlite3.Error, OSError, UnicodeDecodeError)

# diskcache's settings, and all that its table of them may hold. Every one is given by us.
SETTINGS: dict[str, int | str] = {
    "statistics": 0,
    "tag_index": 0,
    "eviction_policy": "least-recently-stored",
    "size_limit": 2**30,
    # Old entries are dropped once a transaction, not once an entry.
    "cull_limit": 0,
    "sqlite_auto_vacuum": 1,
    "sqlite_cache_size": 2**13,
    "sqlite_journal_mode": "wal",
    # Reading a mapped file that somebody cuts short would end the process.
    "sqlite_mmap_size": 0,
    "sqlite_synchronous": 1,
    "disk_min_file_size": 2**15,
    "disk_pickle_protocol": 5,
}
_COUNTS = {"count", "size", "hits", "misses"}
_MODE_RAW, _MODE_PICKLE = 1, 4
_READ = "SELECT mode, value FROM Cache WHERE key = ? AND raw = 1"
_COLUMNS = {
    *("rowid", "key", "raw", "store_time", "expire_time", "access_time", "access_count"),
    *("tag", "size", "mode", "filename", "value"),
}


class ForeignFileError(sqlite3.DatabaseError):
    """A database that SQLite can read but that diskcache did not write."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.sqlite_errorcode = sqlite3.SQLITE_NOTADB


class ReplyReader:
    """The connection that reads. The caller makes sure that one thread uses it at a time.

    Args:
        folder: where the database lies; it need not be there yet.
        busy_timeout: seconds to wait for other processes' locks.
    """

    def __init__(self, folder: Path, *, busy_timeout: float) -> None:
        self._folder = folder
        self._busy_timeout = busy_timeout
        self._connection: sqlite3.Connection | None = None
        self._cursor: sqlite3.Cursor | None = None
        self._abandoned: list[sqlite3.Connection] = []

    def read(self, key: str) -> bytes | None:
        """The value of a key, or None.

        Raises:
            ConfigError: on a pickled value, which only somebody else can have put there.
            ValueError: on anything else that is not ours.
            sqlite3.Error, OSError: if the database cannot be read.
        """
        if self._cursor is None and not self._open():
            return None
        assert self._cursor is not None
        # Fetching all ends the read at once; else it would hold up the others' checkpoints.
        for mode, value in self._cursor.execute(_READ, (key,)).fetchall():
            return checked_value(self._folder, mode, value)
        return None

    def close(self) -> None:
        """Close the connection; the next use opens it again."""
        connection, self._connection, self._cursor = self._connection, None, None
        if connection is not None:
            connection.close()

    def after_fork(self) -> None:
        """Leave the connection to the parent."""
        if self._connection is not None:
            self._abandoned.append(self._connection)
        self._connection = self._cursor = None

    def _open(self) -> bool:
        path = self._folder / DATABASE
        if not path.exists():
            return False
        connection = open_database(path, self._busy_timeout)
        if not has_entries(connection):  # another process is about to make it
            connection.close()
            return False
        # A value that turned into text is for the entry's own check to refuse.
        connection.text_factory = bytes
        self._connection, self._cursor = connection, connection.cursor()
        return True


def checked_value(folder: Path, mode: object, value: object) -> bytes:
    """The bytes of a row.

    Raises:
        ConfigError: if it is pickled, which only somebody else can have written.
        ValueError: if it is anything else that is not ours.
    """
    if mode == _MODE_RAW and type(value) is bytes:
        return value
    if mode == _MODE_PICKLE:
        # No accident writes this, so it is no damage to be passed over either.
        raise ConfigError(
            f"the reply cache {folder} holds a pickled entry, which lmpipe never "
            "writes and did not load: somebody else can write to that folder\n"
            "  find out who, then delete the folder or choose another one ($LMPIPE_CACHE)"
        )
    raise ValueError(f"it holds no bytes of ours: mode {mode!r}")


def open_database(path: Path, busy_timeout: float) -> sqlite3.Connection:
    """Connect to a database of ours, or to an empty one.

    Raises:
        sqlite3.Error: if it is damaged, foreign or cannot be opened.
    """
    connection = _connect(path, busy_timeout)
    try:
        _check(connection)
        for name in ("cache_size", "mmap_size", "synchronous"):
            connection.execute(f"PRAGMA {name} = {SETTINGS['sqlite_' + name]}")
    except BaseException:
        connection.close()
        raise
    return connection


def has_entries(connection: sqlite3.Connection) -> bool:
    """Whether the table of entries has been made."""
    (number,) = connection.execute(
        "SELECT COUNT(*) FROM sqlite_master WHERE name = 'Cache'"
    ).fetchone()
    return bool(number)


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
    """Whether an error of SQLite's means that the database file is damaged or foreign."""
    if isinstance(error, UnicodeDecodeError):  # of a message that quotes what is damaged
        return True
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    # The last two have no code of their own.
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or str(error).startswith(
        ("unsupported file format", "Could not decode to UTF-8")
    )


def _connect(path: Path, busy_timeout: float) -> sqlite3.Connection:
    return sqlite3.connect(
        path, timeout=busy_timeout, isolation_level=None, check_same_thread=False
    )


def _check(connection: sqlite3.Connection) -> None:
    """Refuse a database that would set attributes of ours or break diskcache's statements."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    if "Settings" in tables:
        for key, value in connection.execute("SELECT key, value FROM Settings"):
            if key not in SETTINGS and not (key in _COUNTS and type(value) is int):
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
            (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
            return bool(verdict == "ok")
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        if not is_damage(error):
            raise
        return False
