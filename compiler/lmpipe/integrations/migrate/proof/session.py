"""What both recordings share."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lmpipe.foundation.exact_json import dump_json
from lmpipe.integrations.migrate.proof.asked import Asked
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


def _write_error(error: Exception) -> dict[str, Any]:
    """Write an error of a file or a program."""
    lines = traceback.format_exception_only(error)
    place = traceback.extract_tb(error.__traceback__)
    where = f" ({place[-1].filename}:{place[-1].lineno})" if place else ""
    return {"error": lines[-1].strip() + where}


def record_programs(
    programs: Mapping[str, Callable[[], Any]], ask: Callable[[Callable[[], Any]], Sequence[Asked]]
) -> dict[str, Any]:
    """Record what each program asks, as JSON, or the error that it raises.

    Args:
        programs: what makes each program, by its name.
        ask: makes a program, runs it once, and returns what it asks.
    """
    found: dict[str, Any] = {}
    for name, make in programs.items():
        try:
            found[name] = [asked.to_json() for asked in ask(make)]
        except Exception as error:  # noqa: BLE001 - whatever the program raises is reported
            found[name] = _write_error(error)
    return found


def record_files(record: Callable[[Path], dict[str, Any]], paths: Sequence[str]) -> None:
    """Record what files ask, each into the file that follows it, without a network."""
    for path, out in zip(paths[::2], paths[1::2], strict=True):
        with block_network(hint="the proof runs without a network"):
            try:
                found: dict[str, Any] = {"programs": record(Path(path))}
            except Exception as error:  # noqa: BLE001 - whatever the file raises is reported
                found = _write_error(error)
        Path(out).write_bytes(dump_json(found))
