"""What was learned about models, kept as one small file beside a cache's replies."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmpipe.errors import StorageError
from lmpipe.foundation.atomic_files import write_file
from lmpipe.foundation.canonical_json import canonical_json
from lmpipe.foundation.exact_json import load_json

NAME = "takes.jsonl"


class Notes:
    """The notes of one cache folder, one line each; processes share the file.

    What cannot be read or written is as if it were not there: it costs a refused request.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / NAME

    def find(self, subject: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return the note about a subject, or None."""
        return self._read().get(canonical_json(subject))

    def put(self, subject: Mapping[str, Any], value: Mapping[str, Any]) -> str:
        """Write the note about a subject; return why it cannot be written, or nothing."""
        # A note that another process writes at the same moment may be lost, and learned again.
        notes = {**self._read(), canonical_json(subject): value}
        lines = [
            canonical_json({"subject": load_json(key), "value": known})
            for key, known in sorted(notes.items())
        ]
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_file(self._file, b"\n".join(lines) + b"\n")
        except (OSError, StorageError) as error:
            return str(error)
        return ""

    def _read(self) -> dict[bytes, Mapping[str, Any]]:
        try:
            lines = self._file.read_bytes().splitlines()
        except OSError:
            return {}
        notes: dict[bytes, Mapping[str, Any]] = {}
        for line in lines:
            try:
                match load_json(line):
                    case {"subject": dict(subject), "value": dict(value)}:
                        notes[canonical_json(subject)] = value
            except ValueError:
                continue  # a damaged line is learned again
        return notes
