"""The reply cache: a folder of replies that threads and processes share.

    get -> ReplyMemory -> Writer, for what is not stored yet -> the connection that reads
    put -> ReplyMemory and Writer -> its thread -> the connection that writes

Whatever is wrong with the folder costs a warning and fresh calls, never the run.
"""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmpipe.foundation.atomic_files import home_folder
from lmpipe.lm.cache import database
from lmpipe.lm.cache.connection import Connection
from lmpipe.lm.cache.entry import check_value, decode
from lmpipe.lm.cache.memory import ReplyMemory
from lmpipe.lm.cache.notes import Notes
from lmpipe.lm.cache.tool_entries import entry_of, load_result
from lmpipe.lm.cache.writer import Writer
from lmpipe.lm.request import Reply, Request
from lmpipe.lm.tool_store import Result, ToolUse

_READ = "SELECT mode, value FROM Cache WHERE key = ? AND raw = 1"
_MAX_WAIT = 1.0  # seconds that a call, or a process that forks, waits for a locked database
# Seconds after an error in which calls do not read; it doubles each time, up to the second.
_READ_PAUSE, _MAX_READ_PAUSE = 10.0, 320.0


# A number that changes in a forked child. To ask the system for it in every call takes longer.
_this_process = os.getpid()


def _note_fork() -> None:
    global _this_process  # noqa: PLW0603 - a child has another number
    _this_process = os.getpid()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


class CacheWarning(UserWarning):
    """The cache could not do its work; calls continue without it."""


class Cache:
    """Replies on disk, by request key. Safe to share between threads and processes.

    `put` returns at once; a thread writes within some hundredths of a second, and until then the
    reply is found in memory. Only a process that is killed loses what was not written yet.

    Args:
        folder: where the database is; created when the first reply is written.
        size_limit: maximum bytes on disk; beyond it the oldest replies are dropped.
        memory: maximum bytes of the most recently used replies, which are kept in memory.
        busy_timeout: seconds that the thread, or `close`, waits for a database that another
            process holds locked, before it writes replies to a file beside it. A call waits for
            one second at most, and the calls after it do not wait.
    """

    def __init__(
        self,
        folder: Path,
        *,
        size_limit: int = 10 * 2**30,
        memory: int = 64 * 2**20,
        busy_timeout: float = 10.0,
    ) -> None:
        self.folder = Path(folder)
        self._size_limit = size_limit
        self._patience = busy_timeout
        self._memory = ReplyMemory(memory)
        self._notices = _Notices(self.folder)
        self._notes = Notes(self.folder)
        self._process = 0
        self._start()

    def get(self, key: str, request: Request | None = None) -> Reply | None:
        """Return the reply to a request, marked as cached, or None.

        Raises a ConfigError if somebody planted a pickle in the cache.
        """
        if self._process != _this_process:
            self._start()
        reply = self._memory.get(key) or self._find(key)
        if self._notices.messages:
            self._notices.give()
        return reply

    def put(self, key: str, request: Request, reply: Reply) -> None:
        """Store the reply to a request."""
        self._start()
        self._memory.add(key, reply.as_cached())
        self._writer.add(key, request, reply)
        self._notices.give()

    def find_note(self, subject: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return what was learned about a model, or None."""
        return self._notes.find(subject)

    def put_note(self, subject: Mapping[str, Any], value: Mapping[str, Any]) -> None:
        """Keep what was learned about a model."""
        if problem := self._notes.put(subject, value):
            self._notices.add("notes", f"could not keep what was learned about a model ({problem})")
            self._notices.give()

    @property
    def replays_tools(self) -> bool:
        """Whether it may have the results of tools that are not pure: never."""
        return False

    def find_tool_result(self, use: ToolUse) -> Result | None:
        """Return the result of a pure tool, or None."""
        return load_result(self.get(use.cache_key)) if use.code else None

    def put_tool_result(self, use: ToolUse, result: Result) -> Result:
        """Store the result of a pure tool; return it."""
        if use.code:
            self.put(use.cache_key, *entry_of(use, result))
        return result

    def flush(self) -> None:
        """Return when everything put before is on disk."""
        self._start()
        self._writer.flush()
        self._notices.give()

    def close(self) -> None:
        """Write what is left and close the database; a later call opens it again."""
        self._start()
        self._writer.close()
        self._writing.close()
        self._reading.close()
        self._notices.give()

    def _start(self) -> None:
        """Make, once in each process, the connections and the thread that belong to it.

        A forked child keeps what its parent has in memory, and leaves the writing to the parent.
        """
        if self._process == _this_process:
            return
        self._memory.lock = threading.Lock()  # another thread may have held it during the fork
        report, wait = self._notices.add, min(self._patience, _MAX_WAIT)
        self._reading = Connection(self.folder, timeout=wait, create=False, report=report)
        self._writing = Connection(self.folder, timeout=wait, create=True, report=report)
        self._writer = Writer(
            self.folder,
            self._writing,
            patience=self._patience,
            size_limit=self._size_limit,
            report=report,
        )
        self._paused_until, self._pause = 0.0, _READ_PAUSE
        self._process = _this_process

    def _find(self, key: str) -> Reply | None:
        """Return a reply that is not in memory, or None."""
        reply = self._writer.find(key)
        if reply is not None:
            return reply.as_cached()
        try:
            # Callers do not wait for a locked database one after the other.
            with self._reading.lock:
                if time.monotonic() < self._paused_until:
                    return None
                rows = self._read(key)
            reply = decode(key, check_value(self.folder, *rows[0])) if rows else None
        except database.ERRORS as error:
            remedy = "check permissions and other processes that use it"
            self._notices.add("read", f"could not be read ({error}), the LM is called: {remedy}")
        except ValueError as error:
            self._notices.add(key, f"holds a damaged reply ({error}), the LM is called: {key}")
        if reply is not None:
            self._memory.add(key, reply)
        return reply

    def _read(self, key: str) -> list[tuple[Any, Any]] | None:
        try:
            # Fetching all ends the read; an open one would hold up the checkpoints of writers.
            rows = self._reading.use(lambda db: db.execute(_READ, (key,)).fetchall())
        except database.ERRORS:
            self._paused_until = time.monotonic() + self._pause
            self._pause = min(2 * self._pause, _MAX_READ_PAUSE)
            raise
        self._pause = _READ_PAUSE
        return rows


class _Notices:
    """Warnings, one for each subject, which the next call gives in the thread of the user."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._subjects: set[str] = set()
        self.messages: list[str] = []

    def add(self, subject: str, message: str) -> None:
        if subject not in self._subjects:
            self._subjects.add(subject)
            self.messages.append(f"the cache {self._folder} {message}")

    def give(self) -> None:
        messages, self.messages = self.messages, []
        for message in messages:
            warnings.warn(message, CacheWarning, stacklevel=3)


def default_cache_folder() -> Path:
    """Return `$LMPIPE_CACHE` if it is set, else `replies` in lmpipe's home folder."""
    if folder := os.environ.get("LMPIPE_CACHE"):
        return Path(folder).expanduser()
    return home_folder() / "replies"
