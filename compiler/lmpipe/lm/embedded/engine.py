"""The interface of an embedded engine: loaded weights that answer chat requests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from lmpipe.lm.parts import ToolCall
from lmpipe.state.usage import Usage

# Called with a piece of the text, and one of the thoughts; either may be empty.
OnPiece = Callable[[str, str], None]


class EngineError(Exception):
    """The engine rejected a request, with its JSON error object."""

    def __init__(self, details: Mapping[str, Any]) -> None:
        super().__init__(str(details.get("message") or details))
        self.details = details


class EngineStopped(Exception):  # noqa: N818 - a signal, not an error
    """The call was cancelled, or the engine is closing."""


@dataclass(frozen=True, slots=True)
class Completion:
    """A reply of the engine, with the engine's finish reason.

    `seconds` is the time in a slot, and `reasoning` the thoughts that the engine tells apart.
    `logprobs` are the tokens with their log probabilities, if asked for.
    """

    text: str
    finish: str
    usage: Usage
    reasoning: str = ""
    seconds: float = 0.0
    tool_calls: tuple[ToolCall, ...] = ()
    logprobs: tuple[Mapping[str, Any], ...] | None = None


class Engine(Protocol):
    """Loaded weights that answer one request per slot at a time. Every method blocks."""

    slots: int  # how many requests can run at once
    context: int  # the tokens that one slot can hold, prompt and reply together
    version: str  # the engine's name and version

    def chat(
        self, body: Mapping[str, Any], stop: threading.Event, on_piece: OnPiece | None = None
    ) -> Completion:
        """Answer a chat request, given as JSON; raise an EngineError if the engine rejects it.

        Setting `stop` cancels the call at the next token: it raises an EngineStopped, as it does if
        the engine is closing. `on_piece` is called in this thread with each piece.
        """
        ...

    def save(self, slot: int, name: str) -> int:
        """Write a slot's computed prompt to a file; return its bytes, or raise an OSError."""
        ...

    def restore(self, slot: int, name: str) -> None:
        """Load a saved prompt into a slot, or raise an OSError."""

    def forget(self, name: str) -> None:
        """Delete a saved prompt."""

    def close(self) -> None:
        """Cancel running calls and free the weights."""
