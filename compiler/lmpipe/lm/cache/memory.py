"""The most recently used replies, in memory."""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict

from lmpipe.lm.request import Reply

_OVERHEAD = 700  # approximate bytes of a reply beside its text


class ReplyMemory:
    """At most `limit` bytes of replies, the most recently used. Safe to use from any thread."""

    def __init__(self, limit: int) -> None:
        self.lock = threading.Lock()
        self._limit = limit
        self._bytes = 0
        self._replies: OrderedDict[str, Reply] = OrderedDict()

    def get(self, key: str) -> Reply | None:
        """Return the reply of a key, or None."""
        # Each of the two steps is atomic, so this needs no lock.
        try:
            self._replies.move_to_end(key)
            return self._replies[key]
        except KeyError:  # unknown, or dropped by another thread just now
            return None

    def add(self, key: str, reply: Reply) -> None:
        """Keep a reply in place of an earlier one of the same key."""
        with self.lock:
            earlier = self._replies.pop(key, None)
            self._replies[key] = reply
            self._bytes += _size(reply) - (_size(earlier) if earlier else 0)
            while self._bytes > self._limit:
                _, oldest = self._replies.popitem(last=False)
                self._bytes -= _size(oldest)


def _size(reply: Reply) -> int:
    size = sys.getsizeof(reply.text) + _OVERHEAD
    if reply.reasoning:
        size += sys.getsizeof(reply.reasoning)
    for call in reply.tool_calls:
        size += sys.getsizeof(call.arguments) + _OVERHEAD
    for token in reply.logprobs or ():
        size += (1 + len(token.get("top_logprobs") or ())) * _OVERHEAD
    return size
