"""Look up the replies of a cache with what was asked, for people to read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from lmpipe.lm.cache.entry import check_value, describe
from lmpipe.lm.cache.upkeep import opened
from lmpipe.lm.request import Reply

_KEYS_PER_QUERY = 500  # old versions of SQLite allow 999 values
_QUERY = "SELECT key, mode, value, store_time FROM Cache"


@dataclass(frozen=True, slots=True)
class StoredCall:
    """A reply of a cache.

    Args:
        key: the cache key of its request.
        model: the LM's model.
        asked: the beginning of the last turn of the request.
        sample: the number of the sample.
        reply: what came.
        stored: when, in seconds since 1970.
    """

    key: str
    model: str
    asked: str
    sample: int
    reply: Reply
    stored: float


def last_stored(folder: Path, number: int) -> list[StoredCall]:
    """Return the last replies that a cache got, the latest at the end; damaged ones are left out.

    Raises:
        ConfigError: if the cache cannot be used.
    """
    return list(_read(folder, "ORDER BY rowid DESC LIMIT ?", number))[::-1]


def stored_by_key(folder: Path, keys: Iterable[str]) -> dict[str, StoredCall]:
    """Return the replies with these keys, as far as a cache has them; see `last_stored`."""
    wanted, found = iter(dict.fromkeys(keys)), dict[str, StoredCall]()
    while some := list(islice(wanted, _KEYS_PER_QUERY)):
        marks = ", ".join("?" * len(some))
        found |= {call.key: call for call in _read(folder, f"WHERE key IN ({marks})", *some)}
    return found


def _read(folder: Path, which: str, *values: object) -> Iterator[StoredCall]:
    with opened(folder) as db:
        rows = db.execute(f"{_QUERY} {which}", values).fetchall() if db is not None else []
    for key, mode, value, stored in rows:
        try:
            about, reply = describe(str(key), check_value(folder, mode, value))
            call = StoredCall(
                key=str(key),
                model=str(about["model"]),
                asked=str(about["asked"]),
                sample=int(about["sample"] or 0),
                reply=reply,
                stored=float(stored),
            )
        except (ValueError, KeyError, TypeError):
            continue  # `lmpipe cache export` tells which ones are damaged
        yield call
