"""The database of the reply cache: open it, change its rows, set a damaged file aside."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from itertools import count
from pathlib import Path

from lmpipe.lm.cache.entry import RAW

NAME = "cache.db"

# What a database can raise; UnicodeDecodeError where SQLite quotes damaged text in its message.
ERRORS = (sqlite3.Error, OSError, UnicodeDecodeError)

# A reply to store: its key, the LM's name, its entry.
Row = tuple[str, str, bytes]

_COLUMNS = {
    *("rowid", "key", "raw", "store_time", "expire_time", "access_time", "access_count"),
    *("tag", "size", "mode", "filename", "value"),
}
# diskcache creates the table, its index and its triggers one by one, this trigger last: without it,
# another process is at it, or was killed meanwhile. To create them again adds what is missing.
_LAST_CREATED = "SELECT 1 FROM sqlite_master WHERE name = 'Settings_size_delete'"
_PRAGMAS = "PRAGMA cache_size = 8192; PRAGMA synchronous = NORMAL; PRAGMA mmap_size = 0"
_ROWS_PER_STATEMENT = 150  # old versions of SQLite allow 999 values
_MAX_DROPPED = 10_000  # in one transaction, so that other processes get in between
_REPLACE = (
    "UPDATE SET store_time = excluded.store_time, tag = excluded.tag, size = 0, "
    "mode = excluded.mode, filename = NULL, value = excluded.value"
)


def connect(folder: Path, timeout: float, *, create: bool = False) -> sqlite3.Connection | None:
    """Connect to the database of a cache; return None if it is missing and not to be created.

    `timeout` is the seconds that a statement waits for locks of other connections. Raises one of
    `ERRORS` if the database is damaged, foreign or cannot be opened.
    """
    if create:
        folder.mkdir(parents=True, exist_ok=True)
    elif not (folder / NAME).exists():
        return None
    db = _connect(folder / NAME, timeout)
    try:
        columns = {row[1] for row in db.execute("PRAGMA table_info(Cache)")}
        if columns and columns != _COLUMNS:
            raise sqlite3.DatabaseError("unsupported file format: not a table of diskcache")
        complete = db.execute(_LAST_CREATED).fetchone() is not None
        if create and not complete:
            from lmpipe.lm.cache.disk import create_tables

            create_tables(folder)
            db.close()  # it does not look for an index that it has not seen
            db = _connect(folder / NAME, timeout)
        db.executescript(_PRAGMAS)
    except BaseException:
        db.close()
        raise
    if complete or create:
        return db
    db.close()  # another process may be about to create the tables
    return None


def store(db: sqlite3.Connection, rows: Sequence[Row], *, replace: bool = True) -> int:
    """Store replies, all or none, and return how many; earlier ones are replaced or kept."""
    now, stored = time.time(), 0
    with db:
        db.execute("BEGIN IMMEDIATE")
        # Many rows per statement, as each one releases the interpreter lock and waits for it.
        for start in range(0, len(rows), _ROWS_PER_STATEMENT):
            some = rows[start : start + _ROWS_PER_STATEMENT]
            stored += db.execute(
                "INSERT INTO Cache (key, raw, tag, store_time, access_time, size, mode, value) "  # noqa: S608
                f"VALUES {', '.join([f'(?, 1, ?, ?, ?, 0, {RAW}, ?)'] * len(some))} "
                f"ON CONFLICT (key, raw) DO {_REPLACE if replace else 'NOTHING'}",
                [value for key, lm, entry in some for value in (key, lm, now, now, entry)],
            ).rowcount
    return stored


def drop(db: sqlite3.Connection, which: str, *values: object) -> int:
    """Drop the replies that the end of an SQL query chooses, and return how many."""
    chosen = f"SELECT rowid FROM Cache {which}"  # noqa: S608 - our own SQL
    return db.execute(f"DELETE FROM Cache WHERE rowid IN ({chosen})", values).rowcount  # noqa: S608


def drop_to_size(db: sqlite3.Connection, size: int) -> int:
    """Drop the oldest replies until the database has at most `size` bytes; return how many."""
    query = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
    dropped, gone = 0, 1
    while gone and db.execute(query).fetchone()[0] > size:
        some = db.execute("SELECT COUNT(*) FROM Cache").fetchone()[0] // 50 + 1
        gone = drop(db, "ORDER BY store_time LIMIT ?", min(some, _MAX_DROPPED))
        dropped += gone
    return dropped


def file_id(folder: Path) -> int | None:
    """Return the inode of a cache's database, or None if it is missing."""
    try:
        return os.stat(f"{folder}/{NAME}").st_ino
    except OSError:
        return None


def set_aside(folder: Path, damaged: int, timeout: float) -> Path | None:
    """Rename a damaged database and return its new name, or None if another process was faster."""
    # SQLite as the lock between processes: portable, and released when its holder dies.
    with closing(_connect(folder / "moving.lock", timeout)) as lock:
        lock.execute("BEGIN EXCLUSIVE")
        if file_id(folder) != damaged:
            return None
        names = (folder / f"{NAME}.corrupt-{number}" for number in count(1))
        target = next(name for name in names if not name.exists())
        # The log goes first: SQLite would apply it to a new database of the same name.
        for suffix in ("-wal", "-shm", ""):
            if (part := folder / f"{NAME}{suffix}").exists():
                part.rename(f"{target}{suffix}")
        return target


def is_damage(error: Exception) -> bool:
    """Return whether an error means that the database file is damaged or foreign."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    uncoded = ("unsupported file format", "Could not decode to UTF-8")
    damage = code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
    return damage or str(error).startswith(uncoded) or isinstance(error, UnicodeDecodeError)


def _connect(path: Path, timeout: float) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=timeout, isolation_level=None, check_same_thread=False)
