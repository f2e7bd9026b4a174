"""Upkeep of a reply cache: statistics, pruning, clearing, export and import.

All of it works while other processes use the folder. Unlike the cache itself, every function raises
a `ConfigError` if the folder cannot be used, because the user is waiting for the result.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import islice
from math import inf
from pathlib import Path
from typing import Any

from lmpipe.errors import ConfigError, DataError
from lmpipe.lm.cache import database
from lmpipe.lm.cache.entry import check_value, from_line, to_line
from lmpipe.lm.cache.notes import NAME as NOTES
from lmpipe.lm.cache.writer import UNSAVED

_TIMEOUT = 60.0  # seconds to wait for other processes
_PIECE = 1000  # rows of one query or transaction, so that other processes get in between
_SET_ASIDE = f"{database.NAME}.corrupt-*"
_UNSAVED = UNSAVED.format("*")


@dataclass(frozen=True, slots=True)
class ModelShare:
    """The number of replies of one LM, and the bytes of their entries."""

    replies: int
    bytes: int


@dataclass(frozen=True, slots=True)
class CacheStats:
    """What a cache holds: `bytes` of the folder, times in seconds since 1970, files set aside."""

    replies: int
    bytes: int
    oldest: float | None
    newest: float | None
    models: dict[str, ModelShare]
    damaged: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        times = {"oldest": self.oldest, "newest": self.newest}
        return asdict(self) | {name: time and timestamp(time) for name, time in times.items()}


def stats(folder: Path) -> CacheStats:
    """Count what a cache holds."""
    query = (
        "SELECT tag, COUNT(*), SUM(LENGTH(value)), MIN(store_time), MAX(store_time) "
        "FROM Cache GROUP BY tag ORDER BY COUNT(*) DESC, tag"
    )
    with opened(folder) as db:
        rows = db.execute(query).fetchall() if db is not None else []
    size = 0
    for file in folder.rglob("*"):
        with suppress(OSError):  # other processes create and delete files
            size += file.lstat().st_size
    return CacheStats(
        replies=sum(row[1] for row in rows),
        bytes=size,
        oldest=min((row[3] for row in rows), default=None),
        newest=max((row[4] for row in rows), default=None),
        models={str(row[0] or "unknown"): ModelShare(row[1], row[2] or 0) for row in rows},
        damaged=tuple(sorted(file.name for file in folder.glob(_SET_ASIDE))),
    )


def prune(
    folder: Path,
    *,
    older_than: float | None = None,
    max_size: int | None = None,
    model: str | None = None,
) -> int:
    """Drop the replies that meet every condition, then the oldest until it fits; return how many.

    `older_than` is in seconds, `max_size` in bytes of the database with the replies of all LMs.
    """
    if older_than is None and model is None:
        return _drop(folder, "FALSE", max_size=max_size)
    before = inf if older_than is None else time.time() - older_than
    condition = "store_time < ? AND tag IS coalesce(?, tag)"
    return _drop(folder, condition, before, model, max_size=max_size)


def clear(folder: Path) -> int:
    """Drop all replies, notes and files that were set aside; return the number of replies."""
    dropped = _drop(folder, "TRUE")
    for file in (*folder.glob(_SET_ASIDE), *folder.glob(_UNSAVED), folder / NOTES):
        file.unlink(missing_ok=True)
    return dropped


def export(
    folder: Path, *, model: str | None = None, on_damage: Callable[[str, ValueError], None]
) -> Iterator[bytes]:
    """Write the replies of a cache as lines of JSON, in the order in which they came.

    `on_damage` is called with the key of each entry that is left out, and why.
    """
    query = (
        "SELECT rowid, key, mode, value, store_time FROM Cache "
        "WHERE rowid > ? AND tag IS coalesce(?, tag) ORDER BY rowid LIMIT ?"
    )
    last = 0
    with opened(folder) as db:
        while db is not None and (rows := db.execute(query, (last, model, _PIECE)).fetchall()):
            last = rows[-1][0]
            for _, key, mode, value, stored in rows:
                try:
                    data = check_value(folder, mode, value)
                    yield to_line(str(key), data, stored=timestamp(stored))
                except ValueError as error:
                    on_damage(str(key), error)


def import_(folder: Path, lines: Callable[[], Iterable[bytes]], *, name: str) -> tuple[int, int]:
    """Add exported replies, all or none; return how many were new, and how many known and kept.

    `lines` is called twice, to check all before the first is stored. Raises a DataError if a
    line is damaged, with its number and the `name` of the lines.
    """
    problems: list[str] = []
    total = sum(1 for _ in _rows(lines(), name, problems))
    if problems:
        raise DataError(
            f"damaged lines: {len(problems)}; nothing was imported. Export the cache again, or "
            f"delete them:{''.join(problems[:10])}"
        )
    rows = _rows(lines(), name, problems)
    added = 0
    with opened(folder, create=True) as db:
        while db is not None and (piece := list(islice(rows, _PIECE))):
            added += database.store(db, piece, replace=False)
    return added, total - added


def timestamp(seconds: float) -> str:
    """Return a time in seconds since 1970 as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _rows(lines: Iterable[bytes], name: str, problems: list[str]) -> Iterator[database.Row]:
    for number, line in enumerate(lines, start=1):
        try:
            if line.strip():
                yield from_line(line)
        except (ValueError, TypeError) as error:
            problems.append(f"\n  {name}:{number}: {error}")


def _drop(folder: Path, condition: str, *values: object, max_size: int | None = None) -> int:
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such reply cache; the first LM call creates it")
    dropped = 0
    with opened(folder) as db:
        if db is not None:
            while some := database.drop(db, f"WHERE {condition} LIMIT {_PIECE}", *values):
                dropped += some
            if max_size is not None:
                dropped += database.drop_to_size(db, max_size)
            # Gives the space back to the file system, if no other process is reading.
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return dropped


@contextmanager
def opened(folder: Path, *, create: bool = False) -> Iterator[sqlite3.Connection | None]:
    """Open a cache; gives None if nothing was ever stored."""
    try:
        db = database.connect(folder, _TIMEOUT, create=create)
        with closing(db) if db is not None else nullcontext():
            yield db
    except database.ERRORS as error:
        remedy = "check permissions, free space and other processes that use it"
        if database.is_damage(error):
            remedy = "the next LM call sets it aside and starts a new one; or delete the folder"
        raise ConfigError(f"the reply cache {folder} cannot be used ({error}): {remedy}") from error
