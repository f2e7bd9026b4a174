"""Upkeep of a reply cache: figures, pruning, clearing, export and import.

Works on the folder, also while other processes use it, and raises where the cache itself would
only warn: here somebody asked for it and waits for the answer.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmpipe.errors import ConfigError, DataError
from lmpipe.lm.cache.database import (
    DATABASE,
    DATABASE_ERRORS,
    checked_value,
    has_entries,
    is_damage,
    open_database,
)
from lmpipe.lm.cache.entry import from_line, to_line

if TYPE_CHECKING:
    from lmpipe.lm.cache.disk import ReplyDisk, Row

_BUSY_TIMEOUT = 60.0
_NO_LIMIT = 2**62
_AT_ONCE = 1000
_MOST_LINES_NAMED = 10


@dataclass(frozen=True, slots=True)
class ModelShare:
    """What one LM has in a cache.

    Args:
        replies: how many replies.
        bytes: what they take, without what the database adds.
    """

    replies: int
    bytes: int


@dataclass(frozen=True, slots=True)
class CacheStats:
    """What is in a cache.

    Args:
        replies: how many replies.
        bytes: all that the folder takes on disk.
        oldest: when the oldest reply was stored, in seconds since 1970; None if there is none.
        newest: when the newest one was.
        models: the share of each LM, the largest first.
        damaged: files of databases that were damaged and moved aside.
    """

    replies: int
    bytes: int
    oldest: float | None
    newest: float | None
    models: dict[str, ModelShare]
    damaged: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        value = asdict(self)
        for name in ("oldest", "newest"):
            value[name] = None if value[name] is None else timestamp(value[name])
        return value


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did.

    Args:
        added: replies that are new in the cache.
        known: replies that it had already; they stayed as they were.
    """

    added: int
    known: int


def stats(folder: Path) -> CacheStats:
    """Count what is in a cache.

    Raises:
        ConfigError: if it cannot be read.
    """
    rows: list[tuple[Any, ...]] = []
    with _reading(folder) as connection:
        if connection is not None:
            rows = connection.execute(
                "SELECT tag, COUNT(*), SUM(LENGTH(value)), MIN(store_time), MAX(store_time) "
                "FROM Cache GROUP BY tag ORDER BY COUNT(*) DESC, tag"
            ).fetchall()
    return CacheStats(
        replies=sum(row[1] for row in rows),
        bytes=sum(_size(file) for file in folder.rglob("*")),
        oldest=min((row[3] for row in rows), default=None),
        newest=max((row[4] for row in rows), default=None),
        models={str(row[0] or "unknown"): ModelShare(row[1], row[2] or 0) for row in rows},
        damaged=tuple(sorted(file.name for file in _moved_aside(folder))),
    )


def prune(
    folder: Path,
    *,
    older_than: float | None = None,
    max_size: int | None = None,
    model: str | None = None,
) -> int:
    """Drop replies that meet all of the conditions on age and LM, then the oldest until it fits.

    Args:
        folder: the cache.
        older_than: drop what was stored longer ago, in seconds.
        max_size: bytes of the database at most.
        model: drop the replies of this LM; with `max_size` alone, of all.

    Returns:
        How many were dropped.

    Raises:
        ConfigError: if it cannot be written.
    """
    conditions: dict[str, object] = {}
    if older_than is not None:
        conditions["store_time < ?"] = time.time() - older_than
    if model is not None:
        conditions["tag = ?"] = model
    with _writing(folder) as disk:
        dropped = 0
        if conditions:
            dropped = _drop_all(disk, f"WHERE {' AND '.join(conditions)}", *conditions.values())
        if max_size is not None:
            dropped += disk.drop_to(max_size)
        disk.shrink()
    return dropped


def clear(folder: Path) -> int:
    """Drop all replies, and the databases that were moved aside because of damage.

    Returns:
        How many replies were dropped.

    Raises:
        ConfigError: if it cannot be written.
    """
    with _writing(folder) as disk:
        dropped = _drop_all(disk, "")
        disk.shrink()
        for file in _moved_aside(folder):
            file.unlink(missing_ok=True)
    return dropped


def export(
    folder: Path, *, model: str | None = None, on_damage: Callable[[str, ValueError], None]
) -> Iterator[bytes]:
    """The replies of a cache as lines of JSON, in the order in which they came.

    Args:
        folder: the cache.
        model: only the replies of this LM.
        on_damage: told the key of each entry that is left out, and why.

    Raises:
        ConfigError: if it cannot be read.
    """
    last = 0
    with _reading(folder) as connection:
        # In pieces: one long read would keep the others from tidying their log.
        while connection is not None:
            rows = connection.execute(
                "SELECT rowid, key, mode, value, store_time FROM Cache "
                "WHERE rowid > ? AND (? IS NULL OR tag = ?) ORDER BY rowid LIMIT ?",
                (last, model, model, _AT_ONCE),
            ).fetchall()
            for _, key, mode, value, stored in rows:
                try:
                    data = checked_value(folder, mode, value)
                    yield to_line(str(key), data, stored=timestamp(stored))
                except ValueError as error:
                    on_damage(str(key), error)
            if not rows:
                return
            last = rows[-1][0]


def import_(folder: Path, lines: Callable[[], Iterable[bytes]], *, name: str) -> Imported:
    """Add exported replies to a cache, all or none.

    Args:
        folder: the cache; made if it is missing.
        lines: opens the exported lines; called twice, to check all before anything is written.
        name: what the lines are called in messages.

    Raises:
        DataError: if a line is damaged; names its number.
        ConfigError: if the cache cannot be written.
    """
    _check_lines(lines(), name)
    with _writing(folder, make=True) as disk:
        added = known = 0
        for rows in _in_pieces(lines()):
            new = disk.store(rows, replace=False)
            added, known = added + new, known + len(rows) - new
    return Imported(added, known)


def timestamp(seconds: float) -> str:
    """A time as stored, in ISO 8601 and UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _check_lines(lines: Iterable[bytes], name: str) -> None:
    problems = []
    for number, line in enumerate(lines, start=1):
        try:
            if line.strip():
                from_line(line)
        except (ValueError, TypeError) as error:
            problems.append(f"{name}:{number}: {error}")
    if problems:
        shown = "\n  ".join(problems[:_MOST_LINES_NAMED])
        more = len(problems) - _MOST_LINES_NAMED
        raise DataError(
            f"{len(problems)} damaged {'line' if len(problems) == 1 else 'lines'}, nothing was "
            f"imported; export the cache again, or take them out:\n  {shown}"
            + (f"\n  and {more} more" if more > 0 else "")
        )


def _in_pieces(lines: Iterable[bytes]) -> Iterator[list[Row]]:
    rows: list[Row] = []
    for line in lines:
        if line.strip():
            rows.append(from_line(line))
        if len(rows) == _AT_ONCE:
            yield rows
            rows = []
    if rows:
        yield rows


def _drop_all(disk: ReplyDisk, which: str, *values: object) -> int:
    """Drop entries in pieces, so that other processes get in between."""
    dropped = 0
    while some := disk.drop(f"{which} LIMIT {_AT_ONCE * 10}", *values):
        dropped += some
    return dropped


@contextmanager
def _reading(folder: Path) -> Iterator[sqlite3.Connection | None]:
    """A connection to a cache; None if nothing was ever stored there."""
    path = folder / DATABASE
    with _told(folder):
        if not path.exists():
            yield None
            return
        with closing(open_database(path, _BUSY_TIMEOUT)) as connection:
            yield connection if has_entries(connection) else None


@contextmanager
def _writing(folder: Path, *, make: bool = False) -> Iterator[ReplyDisk]:
    from lmpipe.lm.cache.disk import ReplyDisk

    with _told(folder):
        if not make and not folder.is_dir():
            raise ConfigError(f"{folder}: there is no reply cache; the first LM call makes one")
        disk = ReplyDisk(folder, size_limit=_NO_LIMIT, busy_timeout=_BUSY_TIMEOUT)
        with closing(disk):
            yield disk


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Say what went wrong in a way that helps."""
    try:
        yield
    except DATABASE_ERRORS as error:
        remedy = "check permissions, free space and other processes"
        if is_damage(error):
            remedy = "the next LM call moves it aside and starts afresh; or delete the folder"
        raise ConfigError(f"the reply cache {folder} cannot be used ({error}): {remedy}") from error


def _moved_aside(folder: Path) -> list[Path]:
    return list(folder.glob(f"{DATABASE}.corrupt-*"))


def _size(file: Path) -> int:
    try:
        found = os.stat(file, follow_symlinks=False)
    except OSError:  # others come and go
        return 0
    return found.st_size
