"""Listeners to a reply that arrives in pieces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from lmpipe.lm.parts import ToolCall
from lmpipe.lm.request import Reply


@runtime_checkable
class ThoughtsListener(Protocol):
    """An `OnText` that is told the LM's thoughts too, where it shows them."""

    def __call__(self, text: str) -> None:
        """Take all the text so far."""

    def thoughts(self, text: str) -> None:
        """Take all the thoughts so far, each time that more arrive."""


@runtime_checkable
class ToolCallsListener(Protocol):
    """An `OnText` that is told the calls of tools too, while they arrive."""

    def __call__(self, text: str) -> None:
        """Take all the text so far."""

    def tool_calls(self, calls: tuple[ToolCall, ...]) -> None:
        """Take all the calls so far, each time that more arrives; the last one may be cut."""


def tell(listener: Callable[[str], object], reply: Reply) -> None:
    """Tell all of a reply to a listener, which has heard nothing of it if it was stored."""
    if reply.cached and reply.reasoning and isinstance(listener, ThoughtsListener):
        listener.thoughts(reply.reasoning)
    listener(reply.text)
