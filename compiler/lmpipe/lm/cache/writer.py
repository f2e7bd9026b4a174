"""Replies on their way to the disk: a thread writes together what came while it was busy."""

from __future__ import annotations

import sys
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from queue import SimpleQueue

from lmpipe.lm.request import Reply, Request

Pending = Mapping[str, tuple[Request, Reply]]

# How long the thread waits for more before it writes: what a killed process can lose, beside the
# time that one write takes. Many calls a second then cost few transactions.
LINGER = 0.01  # seconds

_MOST_REPLIES = 4096
_MOST_CHARACTERS = 16 * 2**20


class WriteBehind:
    """Takes replies at once and has them written soon, many in one transaction.

    Whoever adds more than can wait writes it himself, so that memory stays bounded.

    Args:
        write: writes replies by key; called by one thread at a time.
        linger: seconds to wait for more.
    """

    def __init__(self, write: Callable[[Pending], None], *, linger: float = LINGER) -> None:
        self._write = write
        self._linger = linger
        self._pending: dict[str, tuple[Request, Reply]] = {}
        self._written: Pending = {}
        self._characters = 0
        self._at_once = False
        self._lock = threading.Lock()
        # Whoever holds it is the one who writes.
        self.writing = threading.RLock()
        # The thread is told by a token when there is something to write.
        self._thread: threading.Thread | None = None
        self._tokens: SimpleQueue[WriteBehind | None] = SimpleQueue()
        self._told = False
        self._exits_seen = False

    def add(self, key: str, request: Request, reply: Reply) -> None:
        """Have a reply written soon."""
        with self._lock:
            self._pending[key] = (request, reply)
            self._characters += len(reply.text)
            full = len(self._pending) > _MOST_REPLIES or self._characters > _MOST_CHARACTERS
        if full or self._at_once:
            self.flush()
        elif not self._told:
            self._tell()

    def get(self, key: str) -> Reply | None:
        """A reply that is not written yet, or None."""
        entry = self._pending.get(key) or self._written.get(key)
        return entry[1] if entry is not None else None

    def flush(self) -> None:
        """Return when all that was added before is written."""
        with self.writing:
            with self._lock:
                batch, self._pending, self._characters = self._pending, {}, 0
                self._written = batch
            try:
                if batch:
                    self._write(batch)
            except BaseException:  # such as Ctrl-C: what is newer stays
                with self._lock:
                    self._pending = {**batch, **self._pending}
                raise
            finally:
                self._written = {}

    def close(self) -> None:
        """Write all and end the thread; a later `add` starts another one."""
        self.flush()
        with self._lock:
            thread, self._thread = self._thread, None
            tokens = self._tokens
            self._tokens, self._told = SimpleQueue(), False
        if thread is not None:
            tokens.put(None)
            if thread is not threading.current_thread():
                thread.join()

    def close_for_good(self) -> None:
        """Close while Python exits: what is added from now on is written at once."""
        self._at_once = True
        self.close()

    def before_fork(self, timeout: float) -> bool:
        """Keep the thread from writing while the process forks; True if it could be done."""
        return self.writing.acquire(timeout=timeout)

    def after_fork(self) -> Pending:
        """In the child: leave to the parent what is the parent's, and tell what that is."""
        theirs = {**self._written, **self._pending}
        self._pending, self._written, self._characters = {}, {}, 0
        self._lock, self.writing = threading.Lock(), threading.RLock()
        self._thread, self._tokens, self._told = None, SimpleQueue(), False
        self._exits_seen = False
        return theirs

    def _tell(self) -> None:
        """Tell the thread that there is something to write; start it if there is none."""
        with self._lock:
            if self._told:
                return
            self._told = True
            self._tokens.put(self)
            if self._thread is not None and self._thread.is_alive():
                return
            self._thread = thread = threading.Thread(
                target=_run,
                args=(self._tokens, self._linger),
                name="lmpipe-cache",
                daemon=True,
            )
        try:
            thread.start()
        except RuntimeError:  # Python is exiting
            self._thread = None
            self._at_once = True
            self.flush()
            return
        # When nobody uses this any more, neither does the thread.
        weakref.finalize(self, self._tokens.put, None).atexit = False
        self._see_exits()

    def _see_exits(self) -> None:
        """Write before a process of `multiprocessing` ends, which skips the exit handlers."""
        util = sys.modules.get("multiprocessing.util")
        if util is None or self._exits_seen:
            return
        self._exits_seen = True
        itself = weakref.ref(self)

        def flush() -> None:
            if (writer := itself()) is not None:
                writer.flush()

        util.Finalize(None, flush, exitpriority=1)

    def _heard(self) -> None:
        self._told = False


def _run(tokens: SimpleQueue[WriteBehind | None], linger: float) -> None:
    # A token keeps its writer alive until all is written; an idle thread keeps nothing alive.
    while (writer := tokens.get()) is not None:
        time.sleep(linger)
        writer._heard()
        writer.flush()
        del writer
