"""Listeners to a reply that arrives in pieces."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


@runtime_checkable
class ThoughtsListener(Protocol):
    """An `OnText` that is told the LM's thoughts too, where it shows them."""

    def __call__(self, text: str) -> None:
        """Take all the text so far."""

    def thoughts(self, text: str) -> None:
        """Take all the thoughts so far, each time that more arrive."""
