"""Replies of a real LM, recorded once as JSONL, so that its compiles replay offline in tests."""

from __future__ import annotations

from pathlib import Path

import orjson

from lmpipe.errors import LMRequestError
from lmpipe.lm.request import Reply, Request


class Recording:
    """A reply store in one reviewable file.

    Args:
        path: the file.
        record: start it afresh and add what is asked; else a request that it lacks is an error.
    """

    def __init__(self, path: Path, *, record: bool = False) -> None:
        self.path = path
        self._record = record
        self._replies: dict[str, Reply] = {}
        self.played: set[str] = set()
        self._lines: list[bytes] = []
        if not record:
            for line in path.read_bytes().splitlines():
                value = orjson.loads(line)
                self._replies[value["key"]] = Reply.from_json(value["reply"])

    def get(self, key: str, request: Request) -> Reply | None:
        self.played.add(key)
        reply = self._replies.get(key)
        if reply is None and not self._record:
            raise LMRequestError(f"{self.path.name} has no reply for {key}: record it again")
        return reply.as_cached() if reply else None

    def put(self, key: str, request: Request, reply: Reply) -> None:
        self._replies[key] = reply
        line = {"asked": request.messages[-1].content, "key": key, "reply": reply.to_json()}
        self._lines.append(orjson.dumps(line, option=orjson.OPT_SORT_KEYS))

    def close(self) -> None:
        if self._record:
            self.path.write_bytes(b"\n".join(sorted(self._lines)) + b"\n")

    @property
    def unplayed(self) -> int:
        """Recorded replies that nothing asked for."""
        return len(self._replies.keys() - self.played)
