"""`LayeredStore`: a cassette in front of a cache."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmpipe.errors import StorageError
from lmpipe.lm.cassettes.cassette import Cassette
from lmpipe.lm.reply_store import NoteStore, ReplyStore
from lmpipe.lm.request import Reply, Request
from lmpipe.lm.tool_store import Result, ToolStore, ToolUse


class LayeredStore:
    """A cassette in front of another store.

    A replay never touches the other store. A recording takes from it what it has, so that nothing
    is paid for twice (except in mode `all`), and adds new replies to it.
    """

    def __init__(self, cassette: Cassette, beneath: ReplyStore | None) -> None:
        self._cassette = cassette
        self._beneath = beneath

    @property
    def failure(self) -> StorageError | None:
        """The error that ended the recording, or None; see `Cassette`."""
        return self._cassette.failure

    def get(self, key: str, request: Request) -> Reply | None:
        """Return the reply to a request, or None to call the LM; see `Cassette.get`."""
        reply = self._cassette.get(key, request)
        if reply is None and self._beneath is not None and self._cassette.mode != "all":
            reply = self._beneath.get(key, request)
            if reply is not None:
                self._cassette.put(key, request, reply)
        return reply

    def put(self, key: str, request: Request, reply: Reply) -> None:
        """Add the reply to a request to the other store, and record it."""
        # In this order, so that a reply that was paid for is kept if it cannot be recorded.
        if self._beneath is not None:
            self._beneath.put(key, request, reply)
        self._cassette.put(key, request, reply)

    def get_record(self, kind: str, subject: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return a record of the cassette; see `Cassette.get_record`."""
        return self._cassette.get_record(kind, subject)

    def put_record(self, kind: str, subject: Mapping[str, Any], value: Mapping[str, Any]) -> None:
        """Add a record to the cassette; see `Cassette.put_record`."""
        self._cassette.put_record(kind, subject, value)

    @property
    def replays_tools(self) -> bool:
        """Whether the cassette has results of tools."""
        return self._cassette.replays_tools

    def find_tool_result(self, use: ToolUse) -> Result | None:
        """Return the result of a tool; a recording takes it from the other store too."""
        found = self._cassette.find_tool_result(use)
        beneath, mode = self._beneath, self._cassette.mode
        if found is None and self._cassette.recording and mode != "all":
            found = beneath.find_tool_result(use) if isinstance(beneath, ToolStore) else None
            if found is not None:
                found = self._cassette.put_tool_result(use, found)
        return found

    def put_tool_result(self, use: ToolUse, result: Result) -> Result:
        """Keep the result of a tool in the other store, and record it."""
        if self._cassette.recording and isinstance(self._beneath, ToolStore):
            self._beneath.put_tool_result(use, result)
        return self._cassette.put_tool_result(use, result)

    def find_note(self, subject: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return what was learned about a model; a recording takes it from the other store too."""
        found = self._cassette.find_note(subject)
        beneath, mode = self._beneath, self._cassette.mode
        if found is None and self._cassette.recording and mode != "all":
            found = beneath.find_note(subject) if isinstance(beneath, NoteStore) else None
            if found is not None:
                self._cassette.put_note(subject, found)
        return found

    def put_note(self, subject: Mapping[str, Any], value: Mapping[str, Any]) -> None:
        """Keep what was learned about a model in the other store, and record it."""
        if isinstance(self._beneath, NoteStore):
            self._beneath.put_note(subject, value)
        self._cassette.put_note(subject, value)

    def close(self) -> None:
        """Close the other store; whoever opened the cassette closes it."""
        if self._beneath is not None:
            self._beneath.close()
