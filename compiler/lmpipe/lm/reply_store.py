"""`ReplyStore`: the protocol of caches and cassettes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from lmpipe.lm.request import Reply, Request


class ReplyStore(Protocol):
    """A store of replies, such as a cache or a cassette. Its methods are called from any thread.

    A store that records may have a `failure`: the StorageError after which it is not complete.
    """

    def get(self, key: str, request: Request) -> Reply | None:
        """Return the stored reply to a request, or None."""
        ...

    def put(self, key: str, request: Request, reply: Reply) -> None:
        """Store the reply to a request."""

    def close(self) -> None:
        """Write what is left and release files and connections."""


@runtime_checkable
class NoteStore(Protocol):
    """A store that also keeps what was learned about models, beside their replies."""

    def find_note(self, subject: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return what was learned about a model, or None."""
        ...

    def put_note(self, subject: Mapping[str, Any], value: Mapping[str, Any]) -> None:
        """Keep what was learned about a model."""
