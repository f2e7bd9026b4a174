"""The disk cache of replies, shared by threads and processes.

A cache can only ever save time: whatever is wrong with it (a damaged entry, a damaged file, a
full disk, a folder that cannot be written) costs a warning and a fresh call, never the run.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import warnings
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import orjson

from lmpipe.canonical import canonical_json, digest
from lmpipe.lm.request import Finish, Reply, Request

if TYPE_CHECKING:
    from lmpipe.lm.reply_disk import ReplyDisk

__all__ = ["Cache", "CacheWarning", "default_cache_folder"]

_VERSION = 1
_GIB = 2**30
_MAX_RECOVERIES = 3


class CacheWarning(UserWarning):
    """The cache could not do its work; calls go on without it."""


class Cache:
    """Replies on disk, by request key. Safe to share between threads and processes.

    Opening, reading and writing never raise; what goes wrong is told once by a `CacheWarning`.

    Args:
        folder: where it lies; made if it is missing.
        size_limit: bytes, above which the replies stored longest ago are dropped.
        busy_timeout: seconds to wait while another process writes.
    """

    def __init__(
        self, folder: Path, *, size_limit: int = 10 * _GIB, busy_timeout: float = 10.0
    ) -> None:
        self.folder = Path(folder)
        self._size_limit = size_limit
        self._busy_timeout = busy_timeout
        self._lock = threading.Lock()
        self._warned: set[str] = set()
        self._recoveries = 0
        self._disk = self._open()
        if hasattr(os, "register_at_fork"):
            itself = weakref.ref(self)
            os.register_at_fork(after_in_child=lambda: _after_fork(itself()))

    def get(self, key: str, request: Request | None = None) -> Reply | None:
        """The reply to a request, marked as cached, or None."""
        try:
            data = self._read(key)
            return None if data is None else _decode(key, data)
        except (ValueError, TypeError) as error:
            self._warn(
                f"entry {key}",
                f"the cached reply {key} in {self.folder} is damaged ({error}): "
                "it is ignored and the LM is asked again",
            )
        except (sqlite3.Error, OSError) as error:
            self._fail("read", error)
        return None

    def put(self, key: str, request: Request, reply: Reply) -> None:
        """Store the reply to a request."""
        try:
            data = _encode(key, reply)
            with self._lock:
                if self._disk is not None:
                    self._disk.set_bytes(key, data)
        except (sqlite3.Error, OSError, TypeError) as error:
            self._fail("written", error)

    def close(self) -> None:
        """Close the database; a later call opens it again."""
        with self._lock:
            if self._disk is not None:
                self._disk.close()

    def __len__(self) -> int:
        try:
            with self._lock:
                return 0 if self._disk is None else len(self._disk)
        except (sqlite3.Error, OSError) as error:
            self._fail("read", error)
            return 0

    def _read(self, key: str) -> bytes | None:
        with self._lock:
            if self._disk is None:
                return None
            try:
                data: bytes | None = self._disk.get(key)
            except ValueError:
                # Another process may have replaced the entry between its row and its file.
                data = self._disk.get(key)
            return data

    def _open(self, *, again: bool = True) -> ReplyDisk | None:
        """Open the database, in place of a damaged one if need be; None if nothing helps."""
        from lmpipe.lm.reply_disk import ReplyDisk, is_damage

        try:
            return ReplyDisk(
                self.folder, size_limit=self._size_limit, busy_timeout=self._busy_timeout
            )
        except (sqlite3.Error, OSError) as error:
            if again and is_damage(error) and self._move_aside(error):
                return self._open(again=False)
            self._warn_off(error)
            return None

    def _recover(self, damage: Exception) -> None:
        """Replace a database that turned out damaged while in use."""
        with self._lock:
            self._recoveries += 1
            if self._disk is not None:
                self._disk.close()
            self._disk = None
        if self._recoveries > _MAX_RECOVERIES or not self._move_aside(damage):
            self._warn_off(damage)
            return
        disk = self._open()
        with self._lock:
            self._disk = disk

    def _move_aside(self, damage: Exception) -> bool:
        """Make room for a fresh database; False if that is impossible."""
        from lmpipe.lm.reply_disk import move_aside

        try:
            moved = move_aside(self.folder, busy_timeout=self._busy_timeout)
        except (sqlite3.Error, OSError):
            return False
        if moved is not None:
            self._warn(
                f"moved {moved}",
                f"the cache {self.folder} was damaged ({damage}): its database lies at {moved} "
                "now, and a fresh one was started. Delete it if you do not need it",
            )
        return True

    def _fail(self, what: str, error: Exception) -> None:
        from lmpipe.lm.reply_disk import is_damage

        if is_damage(error):
            self._recover(error)
            return
        self._warn(
            what,
            f"a reply in the cache {self.folder} could not be {what} ({error}): calls go on "
            "without it, and this is said once. Check free space, permissions and other processes",
        )

    def _warn_off(self, reason: Exception) -> None:
        self._warn(
            "off",
            f"the cache {self.folder} cannot be used ({reason}): every call asks the LM. Choose "
            "a folder that can be written, by `cache=` or $LMPIPE_CACHE",
        )

    def _warn(self, subject: str, message: str) -> None:
        with self._lock:
            if subject in self._warned:
                return
            self._warned.add(subject)
        warnings.warn(message, CacheWarning, stacklevel=3)


def default_cache_folder() -> Path:
    """Where replies are cached by default.

    `$LMPIPE_CACHE`, else `replies` in `$LMPIPE_HOME`, `$XDG_CACHE_HOME/lmpipe` or
    `~/.cache/lmpipe`, whichever is set first.
    """
    if folder := os.environ.get("LMPIPE_CACHE"):
        return Path(folder).expanduser()
    if home := os.environ.get("LMPIPE_HOME"):
        return Path(home).expanduser() / "replies"
    user_cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(user_cache).expanduser() / "lmpipe" / "replies"


def _after_fork(cache: Cache | None) -> None:
    if cache is not None:
        # Another thread of the parent may have held the lock.
        cache._lock = threading.Lock()
        if cache._disk is not None:
            cache._disk.after_fork()


def _encode(key: str, reply: Reply) -> bytes:
    body = reply.to_json()
    # The key is part of the sum, so that a row cannot answer for another request.
    return canonical_json({"v": _VERSION, "reply": body, "checksum": digest([key, body])})


def _decode(key: str, data: bytes) -> Reply:
    """Read an entry; raises ValueError if it is not exactly what `_encode` writes."""
    value = orjson.loads(data)
    if not isinstance(value, dict) or value.keys() != {"v", "reply", "checksum"}:
        raise ValueError("it is no stored reply")
    if value["v"] != _VERSION:
        raise ValueError(f"its format is {value['v']!r}, expected {_VERSION}")
    if value["checksum"] != digest([key, value["reply"]]):
        raise ValueError("its checksum is wrong")
    reply = Reply.from_json(value["reply"])
    counts = reply.usage.to_json().values()
    if reply.finish not in get_args(Finish) or not all(type(count) is int for count in counts):
        raise ValueError("it is no stored reply")
    return reply.as_cached()
