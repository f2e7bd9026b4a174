"""The bytes of images, sounds and files beside a cassette: each once, in a file named by its hash.

    cassettes/test_photos/test_a_cat.jsonl
    cassettes/test_photos/test_a_cat.jsonl.media/7d9c…f1

A cassette whose calls hold no media has no such folder.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from lmpipe.errors import CassetteError
from lmpipe.foundation.atomic_files import write_file
from lmpipe.foundation.storing import storing
from lmpipe.lm.message import Message
from lmpipe.lm.parts import MediaPart, media_in

_NAME = re.compile(r"[0-9a-f]{64}")


class MediaFolder:
    """The folder of one cassette. Not safe to share between threads."""

    def __init__(self, cassette: Path) -> None:
        self._cassette = cassette
        self._folder = cassette.with_name(f"{cassette.name}.media")
        self._known: dict[str, bytes] = {}  # what is in the folder

    def read(self, sha256: str) -> bytes:
        """Return the bytes with a hash, or raise a CassetteError if they are not there."""
        if sha256 not in self._known:
            if not _NAME.fullmatch(sha256):
                raise ValueError(f"{sha256!r:.100} is not a hash")
            self._known[sha256] = self._load(sha256)
        return self._known[sha256]

    def _load(self, sha256: str) -> bytes:
        path = self._folder / sha256
        try:
            data = path.read_bytes()
        except OSError as error:
            raise self._error(path, f"cannot be read: {error.strerror}") from error
        if hashlib.sha256(data).hexdigest() != sha256:
            raise self._error(path, "has other bytes than were recorded")
        return data

    def _error(self, path: Path, what: str) -> CassetteError:
        return CassetteError(
            f"{path}, a file that calls in the cassette {self._cassette.name} hold, {what}\n"
            "  restore it (it belongs to the cassette: commit both), or delete the cassette and "
            "record again"
        )

    def add(self, messages: Iterable[Message]) -> None:
        """Store the media of messages; a StorageError if one cannot be written."""
        for part in _media_of(messages):
            if part.sha256 in self._known:
                continue
            path = self._folder / part.sha256
            if not self._holds(part):
                with storing(path):
                    self._folder.mkdir(parents=True, exist_ok=True)
                write_file(path, part.data)
            self._known[part.sha256] = part.data

    def _holds(self, part: MediaPart) -> bool:
        with suppress(OSError, CassetteError):
            return self._load(part.sha256) == part.data
        return False

    def keep_only(self, messages: Iterable[Message]) -> None:
        """Delete what none of these messages holds, and the folder if it is empty then."""
        if not self._folder.is_dir():
            return
        held = {part.sha256 for part in _media_of(messages)}
        with storing(self._folder):
            for path in list(self._folder.iterdir()):
                if _NAME.fullmatch(path.name) and path.name not in held:
                    path.unlink()
            if not any(self._folder.iterdir()):
                self._folder.rmdir()


def _media_of(messages: Iterable[Message]) -> Iterable[MediaPart]:
    for message in messages:
        yield from (part for part in media_in(message.content) if part.data)
