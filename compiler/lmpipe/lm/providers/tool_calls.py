"""The calls of tools in replies in OpenAI's format, whole and in pieces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lmpipe.foundation.exact_json import dump_json
from lmpipe.foundation.unicode_text import valid_unicode
from lmpipe.lm.parts import ToolCall


def tool_calls_of(message: Mapping[str, Any]) -> tuple[ToolCall, ...]:
    """The calls in a whole message; raises a ValueError if one has no name."""
    pieces = _pieces(message)
    return _whole([_Call().add(piece) for piece in pieces]) if pieces else ()


class StreamedToolCalls:
    """The calls in a reply that arrives in pieces."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._at: dict[int, _Call] = {}  # the last one at each index

    def add(self, piece: Mapping[str, Any]) -> None:
        """Add the calls in a piece of a message."""
        for place, part in enumerate(_pieces(piece)):
            index = part.get("index")
            index = index if isinstance(index, int) else place
            call, call_id = self._at.get(index), part.get("id")
            # Some servers give every call the index 0.
            if call is None or (call_id and call.id and call_id != call.id):
                call = self._at[index] = _Call()
                self._calls.append(call)
            call.add(part)

    def so_far(self) -> tuple[ToolCall, ...]:
        """The calls of which the name has come, in order."""
        calls = [call for call in self._calls if call.name]
        return tuple(
            [ToolCall(call.id, call.name, valid_unicode(call.arguments)) for call in calls]
        )

    def result(self) -> tuple[ToolCall, ...]:
        """The calls in order; raises a ValueError if one has no name."""
        return _whole(self._calls)


@dataclass(slots=True)
class _Call:
    """A call of which some pieces came."""

    id: str = ""
    name: str = ""
    arguments: str = ""

    def add(self, piece: Mapping[str, Any]) -> _Call:
        function = piece.get("function") or {}
        self.id = self.id or str(piece.get("id") or "")
        # The name comes once; some servers repeat it with each piece.
        self.name = self.name or str(function.get("name") or "")
        arguments = function.get("arguments")
        if isinstance(arguments, str):
            self.arguments += arguments
        elif arguments is not None:  # some servers send the object itself
            self.arguments = dump_json(arguments).decode()
        return self


def _pieces(message: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    pieces: Sequence[Mapping[str, Any]] = message.get("tool_calls") or ()
    if not pieces and (old := message.get("function_call")):
        # The form from before a reply could have several calls; some servers still send it.
        return [{"function": old}]
    return pieces


def _whole(calls: Sequence[_Call]) -> tuple[ToolCall, ...]:
    """A call without an id gets one by its place, so that its result can name it."""
    if nameless := [call for call in calls if not call.name]:
        raise ValueError(f"a tool call without a name: {nameless[0].arguments[:100]!r}")
    return tuple(
        ToolCall(
            call.id or f"call_{place}",
            valid_unicode(call.name),
            valid_unicode(call.arguments) or "{}",
        )
        for place, call in enumerate(calls)
    )
