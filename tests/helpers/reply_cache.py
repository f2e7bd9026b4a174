"""Requests, replies and helpers for tests of the reply cache."""

from __future__ import annotations

import re
import sqlite3
import threading
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, get_args

from hypothesis import strategies as st

from lmpipe.lm.cache.cache import Cache, CacheWarning
from lmpipe.lm.lm import LM
from lmpipe.lm.message import Message
from lmpipe.lm.request import Finish, Reply, Request
from lmpipe.state.usage import Usage

REQUEST = Request(LM("vllm/m", base_url="http://127.0.0.1:1/v1"), (Message("user", "hi"),))
KEY = REQUEST.key()
REPLY = Reply("hello", "length", Usage(3, 2, 1), 0.25, "vllm-1")
LONG = Reply("long " * 20_000)

texts = st.text(st.characters(exclude_categories=["Cs"]))
counts = st.integers(0, 2**40)
replies = st.builds(
    Reply,
    text=texts,
    finish=st.sampled_from(get_args(Finish)),
    usage=st.builds(Usage, counts, counts, counts),
    seconds=st.floats(0, 1e6),
    fingerprint=texts,
)


def fill(folder: Path, *keys: str, reply: Reply = REPLY, request: Request = REQUEST) -> None:
    """Store a reply under each key, as a process that has ended would have."""
    cache = Cache(folder)
    for key in keys or [KEY]:
        cache.put(key, request, reply)
    cache.close()


def read(folder: Path, key: str = KEY) -> Reply | None:
    """Return what a new process finds."""
    cache = Cache(folder)
    try:
        return cache.get(key)
    finally:
        cache.close()


def stored_keys(folder: Path) -> list[str]:
    """Return the keys in the database, sorted."""
    return sorted(key for (key,) in execute(folder, "SELECT key FROM Cache"))


def execute(folder: Path, statement: str, *values: Any) -> list[Any]:
    """Run SQL on the database, bypassing the cache."""
    with closing(sqlite3.connect(folder / "cache.db", isolation_level=None)) as connection:
        return connection.execute(statement, values).fetchall()


def put_in_new_thread(cache: Cache) -> threading.Thread:
    """Store a reply in a cache that has no thread yet, and return the thread that writes it."""
    before = set(threading.enumerate())
    cache.put(KEY, REQUEST, REPLY)
    (thread,) = set(threading.enumerate()) - before
    return thread


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the database locked, as another process that writes would."""
    with closing(sqlite3.connect(folder / "cache.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield


@contextmanager
def one_warning(match: str) -> Iterator[None]:
    """Expect exactly one warning, a `CacheWarning` that matches."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    assert [warning.category for warning in caught] == [CacheWarning]
    assert re.search(match, str(caught[0].message)), caught[0].message


def assert_damaged(folder: Path, match: str, key: str = KEY) -> None:
    """Assert that an entry is a miss each time, with one warning in all."""
    cache = Cache(folder)
    with one_warning(match):
        assert cache.get(key) is None
        assert cache.get(key) is None
    cache.close()
