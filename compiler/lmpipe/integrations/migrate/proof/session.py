"""What both recordings share."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lmpipe.foundation.exact_json import dump_json
from lmpipe.lm.http.network_block import block_network

MOST_CALLS = 100  # of one program: a loop that the stub's replies do not end

# One dot, as a picture.
PICTURE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGA"
    "WjR9awAAAABJRU5ErkJggg=="
)


class TooManyCalls(Exception):  # noqa: N818 - it says what happened
    """A program does not come to an end with the stub's replies."""

    def __str__(self) -> str:
        return f"it asks more than {MOST_CALLS} times with the stub's replies"


def write_error(error: Exception) -> dict[str, Any]:
    """Write an error of a file or a program."""
    lines = traceback.format_exception_only(error)
    place = traceback.extract_tb(error.__traceback__)
    where = f" ({place[-1].filename}:{place[-1].lineno})" if place else ""
    return {"error": lines[-1].strip() + where}


def record_files(record: Callable[[Path], dict[str, Any]], paths: Sequence[str]) -> None:
    """Record what files ask, each into the file that follows it, without a network."""
    for path, out in zip(paths[::2], paths[1::2], strict=True):
        with block_network(hint="the proof runs without a network"):
            try:
                found: dict[str, Any] = {"programs": record(Path(path))}
            except Exception as error:  # noqa: BLE001 - whatever the file raises is reported
                found = write_error(error)
        Path(out).write_bytes(dump_json(found))
