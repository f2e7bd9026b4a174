"""The disk cache of replies, shared by threads and processes.

A cache can only ever save time: whatever is wrong with it (a damaged entry, a damaged file, a
full disk, a folder that cannot be written) costs a warning and a fresh call, never the run.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sqlite3
import threading
import warnings
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmpipe.foundation.atomic_files import home_folder
from lmpipe.lm.cache.database import DATABASE_ERRORS, ReplyReader, is_damage, move_aside
from lmpipe.lm.cache.entry import About, OldEntryError, decode, encode
from lmpipe.lm.cache.memory import ReplyMemory
from lmpipe.lm.cache.writer import Pending, WriteBehind
from lmpipe.lm.request import Reply, Request

if TYPE_CHECKING:
    from lmpipe.lm.cache.disk import ReplyDisk, Row

__all__ = ["Cache", "CacheWarning", "default_cache_folder"]

_MIB, _GIB = 2**20, 2**30
_MAX_RECOVERIES = 3


class CacheWarning(UserWarning):
    """The cache could not do its work; calls go on without it."""


class Cache:
    """Replies on disk, by request key. Safe to share between threads and processes.

    `put` returns at once; a thread writes within some ten milliseconds, and until then a reply
    is found in memory. That is what a process that is killed can lose. One that ends in any other
    way, and `close` and `flush`, write all.

    Reading and writing never raise; what goes wrong is told once by a `CacheWarning`.

    Args:
        folder: where it lies; made when the first reply is written.
        size_limit: bytes on disk, above which the replies stored longest ago are dropped.
        memory: bytes in memory for the replies used last.
        busy_timeout: seconds to wait while another process writes.
    """

    def __init__(
        self,
        folder: Path,
        *,
        size_limit: int = 10 * _GIB,
        memory: int = 64 * _MIB,
        busy_timeout: float = 10.0,
    ) -> None:
        self.folder = Path(folder)
        self._size_limit = size_limit
        self._busy_timeout = busy_timeout
        self._memory = ReplyMemory(memory)
        self._writer = WriteBehind(self._write)
        self._reader = ReplyReader(self.folder, busy_timeout=busy_timeout)
        self._reading = threading.Lock()
        self._disk: ReplyDisk | None = None
        self._off = False
        self._generation = 0
        self._warned: set[str] = set()
        self._untold: list[str] = []
        self._held: list[Any] = []
        _watch(self)

    def get(self, key: str, request: Request | None = None) -> Reply | None:
        """The reply to a request, marked as cached, or None.

        Raises:
            ConfigError: if somebody else planted a pickle in the cache.
        """
        reply = self._writer.get(key) or self._memory.get(key)
        if reply is not None:
            return reply if reply.cached else self._memory.add(key, reply.as_cached())
        if not self._off:
            reply = self._read(key)
        if self._untold:
            self._tell()
        return reply

    def put(self, key: str, request: Request, reply: Reply) -> None:
        """Store the reply to a request."""
        if not self._off:
            self._writer.add(key, request, reply)
        if self._untold:
            self._tell()

    def flush(self) -> None:
        """Return when all that was put before is on disk."""
        self._writer.flush()
        self._tell()

    def close(self) -> None:
        """Write what is left and close the database; a later call opens it again."""
        self._writer.close()
        with self._writer.writing, self._reading:
            self._close_connections()
        self._tell()

    def __del__(self) -> None:
        # A cache that is dropped has nothing left to write: its writer kept it alive until then.
        with contextlib.suppress(AttributeError, sqlite3.Error):  # or its making failed half-way
            self._close_connections()

    def prune(
        self,
        *,
        older_than: float | None = None,
        max_size: int | None = None,
        model: str | None = None,
    ) -> int:
        """Drop replies, as `upkeep.prune` does.

        Returns:
            How many were dropped.

        Raises:
            ConfigError: if the cache cannot be written.
        """
        from lmpipe.lm.cache import upkeep

        self.flush()
        dropped = upkeep.prune(self.folder, older_than=older_than, max_size=max_size, model=model)
        self._memory.clear()
        return dropped

    def clear(self) -> int:
        """Drop all replies, as `upkeep.clear` does.

        Returns:
            How many were dropped.

        Raises:
            ConfigError: if the cache cannot be written.
        """
        from lmpipe.lm.cache import upkeep

        self.flush()
        dropped = upkeep.clear(self.folder)
        self._memory.clear()
        return dropped

    def __len__(self) -> int:
        self.flush()
        try:
            with self._writer.writing:
                disk = self._opened()
                return 0 if disk is None else len(disk)
        except DATABASE_ERRORS as error:
            self._fail("read", error, self._generation)
            return 0
        finally:
            self._tell()

    def _read(self, key: str) -> Reply | None:
        generation = self._generation
        try:
            with self._reading:
                data = self._reader.read(key)
            return None if data is None else self._memory.add(key, decode(key, data))
        except DATABASE_ERRORS as error:
            self._fail("read", error, generation)
        except OldEntryError:
            pass
        except ValueError as error:
            self._warn(
                f"entry {key}",
                f"the cached reply {key} in {self.folder} is damaged ({error}): "
                "it is ignored and the LM is asked again",
            )
        return None

    def _write(self, pending: Pending) -> None:
        """Write a batch; nobody else writes meanwhile."""
        rows = []
        for key, (request, reply) in pending.items():
            about = About.of(request)
            try:
                rows.append((key, about.model, encode(key, reply, about)))
            except (TypeError, ValueError) as error:
                self._fail("written", error, self._generation)
        generation = self._generation
        try:
            self._store(rows)
        except DATABASE_ERRORS as error:
            self._fail("written", error, generation)
            if self._generation != generation:
                self._store_again(rows)
        if not self._off:
            for key, (_, reply) in pending.items():
                self._memory.add(key, reply)

    def _store(self, rows: Sequence[Row]) -> None:
        disk = self._opened()
        if disk is not None:
            disk.store(rows)

    def _store_again(self, rows: Sequence[Row]) -> None:
        """Once more, in a database that took the place of a damaged one."""
        try:
            self._store(rows)
        except DATABASE_ERRORS as error:
            self._turn_off(error)

    def _opened(self) -> ReplyDisk | None:
        """The database to write to, opened if need be; None if it cannot be."""
        from lmpipe.lm.cache.disk import ReplyDisk

        gone = self._disk is not None and not self._disk.is_current()
        if gone:
            with self._reading:
                self._close_connections()
        if self._disk is None and not self._off:
            generation = self._generation
            try:
                self._disk = ReplyDisk(
                    self.folder, size_limit=self._size_limit, busy_timeout=self._busy_timeout
                )
            except DATABASE_ERRORS as error:
                if is_damage(error) and self._recover(error, generation):
                    return self._opened()
                self._turn_off(error)
        if gone and self._disk is not None:
            self._warn(
                "gone",
                f"the cache {self.folder} was deleted or replaced while in use: it was opened "
                "again, and replies stored before may be gone",
            )
        return self._disk

    def _recover(self, damage: Exception, generation: int) -> bool:
        """Replace a database that turned out damaged; False if that is impossible.

        Args:
            damage: how that showed.
            generation: of the database that is damaged; another thread may have been quicker.
        """
        with self._writer.writing, self._reading:
            if self._generation == generation:
                self._generation += 1
                self._close_connections()
                if self._generation > _MAX_RECOVERIES or not self._move_aside(damage):
                    self._turn_off(damage)
            return not self._off

    def _move_aside(self, damage: Exception) -> bool:
        """Make room for a fresh database; False if that is impossible."""
        try:
            moved = move_aside(self.folder, busy_timeout=self._busy_timeout)
        except DATABASE_ERRORS:
            return False
        if moved is not None:
            self._warn(
                f"moved {moved}",
                f"the cache {self.folder} was damaged ({damage}): its database lies at {moved} "
                "now, and a fresh one was started. Delete it if you do not need it",
            )
        return True

    def _close_connections(self) -> None:
        disk, self._disk = self._disk, None
        if disk is not None:
            disk.close()
        self._reader.close()

    def _fail(self, what: str, error: Exception, generation: int) -> None:
        if is_damage(error):
            self._recover(error, generation)
            return
        self._warn(
            what,
            f"a reply in the cache {self.folder} could not be {what} ({error}): calls go on "
            "without it, and this is said once. Check free space, permissions and other processes",
        )

    def _turn_off(self, reason: Exception) -> None:
        self._off = True
        self._warn(
            "off",
            f"the cache {self.folder} cannot be used ({reason}): every call asks the LM. Choose "
            "a folder that can be written, by `cache=` or $LMPIPE_CACHE",
        )

    def _warn(self, subject: str, message: str) -> None:
        """Have something told once, by the next call: in the writer's thread nobody would see."""
        if subject not in self._warned:
            self._warned.add(subject)
            self._untold.append(message)

    def _tell(self) -> None:
        while self._untold:
            try:
                message = self._untold.pop(0)
            except IndexError:  # another thread told it
                return
            warnings.warn(message, CacheWarning, stacklevel=3)

    def _before_fork(self) -> None:
        # SQLite must be at rest, or the child inherits locks that nobody gives back.
        for lock in (self._writer.writing, self._reading):
            if lock.acquire(timeout=self._busy_timeout + 1):
                self._held.append(lock)

    def _after_fork_in_parent(self) -> None:
        while self._held:
            self._held.pop().release()

    def _after_fork_in_child(self) -> None:
        self._held = []
        self._reading = threading.Lock()
        self._memory.after_fork()
        self._reader.after_fork()
        if self._disk is not None:
            self._disk.after_fork()
        for key, (_, reply) in self._writer.after_fork().items():
            self._memory.add(key, reply)

    def _at_exit(self) -> None:
        self._writer.close_for_good()
        self.close()


def default_cache_folder() -> Path:
    """Where replies are cached by default.

    `$LMPIPE_CACHE`, else `replies` in `$LMPIPE_HOME`, `$XDG_CACHE_HOME/lmpipe` or
    `~/.cache/lmpipe`, whichever is set first.
    """
    if folder := os.environ.get("LMPIPE_CACHE"):
        return Path(folder).expanduser()
    return home_folder() / "replies"


def _watch(cache: Cache) -> None:
    """Tell a cache when the process forks or ends; it may be gone by then."""
    itself = weakref.ref(cache)

    def call(method: Callable[[Cache], None]) -> Callable[[], None]:
        return lambda: method(cache) if (cache := itself()) is not None else None

    atexit.register(call(Cache._at_exit))
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=call(Cache._before_fork),
            after_in_parent=call(Cache._after_fork_in_parent),
            after_in_child=call(Cache._after_fork_in_child),
        )
