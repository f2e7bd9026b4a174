"""The replies last used, in memory, in front of those on disk."""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict

from lmpipe.lm.request import Reply

# What a reply takes beside its text, roughly: its objects, its key, its place here.
_OVERHEAD = 700


class ReplyMemory:
    """Replies by key; those used longest ago go first. Safe to use from any thread.

    Args:
        limit: bytes, roughly.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._bytes = 0
        self._replies: OrderedDict[str, Reply] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> Reply | None:
        """The reply of a key, or None."""
        with self._lock:
            reply = self._replies.get(key)
            if reply is not None:
                self._replies.move_to_end(key)
        return reply

    def add(self, key: str, reply: Reply) -> Reply:
        """Keep a reply, in place of an earlier one of its key, and return it."""
        with self._lock:
            earlier = self._replies.pop(key, None)
            if earlier is not None:
                self._bytes -= _size(earlier)
            self._replies[key] = reply
            self._bytes += _size(reply)
            while self._bytes > self._limit:
                _, oldest = self._replies.popitem(last=False)
                self._bytes -= _size(oldest)
        return reply

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._replies.clear()
            self._bytes = 0

    def after_fork(self) -> None:
        """In a forked child: another thread of the parent may have held the lock."""
        self._lock = threading.Lock()


def _size(reply: Reply) -> int:
    return sys.getsizeof(reply.text) + _OVERHEAD
