"""Paths into JSON, such as `input.messages[-1].content`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lmpipe.data.traces.documents import parsed
from lmpipe.errors import DataError
from lmpipe.foundation.shorten import short_repr

_STEP = re.compile(r'\.?(?P<name>[\w-]+)|\[(?P<index>-?\d+)\]|\["(?P<key>[^"]+)"\]')
_SHOWN = 12  # names in a message


def steps_of(path: str) -> list[str | int]:
    """Read a path: names with dots between them, `[0]` or `[-1]` in lists, `["a.b"]` for any key.

    Raises:
        DataError: if it cannot be read.
    """
    steps: list[str | int] = []
    place = 0
    while place < len(path):
        step = _STEP.match(path, place)
        if step is None or (place == 0 and step.group().startswith(".")):
            raise DataError(
                f"{path!r} is not a path: write names with dots between them, [0] or [-1] for an "
                'item of a list, and ["a.b"] for a name with other characters'
            )
        name, index, key = step.group("name", "index", "key")
        steps.append(int(index) if index else name or key)
        place = step.end()
    if not steps:
        raise DataError("a path is empty: write one such as input.question")
    return steps


def look_up(value: Any, path: str) -> Any:
    """Return what is at a path; a text that is JSON is read on the way.

    Raises:
        DataError: if there is nothing; the message says what there is.
    """
    done = ""
    for step in steps_of(path):
        value = _opened(value)
        if isinstance(step, int):
            if not isinstance(value, list) or not -len(value) <= step < len(value):
                raise _nothing(path, done, value, f"item {step}")
            value = value[step]
        elif isinstance(value, Mapping) and step in value:
            value = value[step]
        else:
            raise _nothing(path, done, value, step)
        done += f"[{step}]" if isinstance(step, int) else f"{'.' if done else ''}{step}"
    return value


def _opened(value: Any) -> Any:
    """Read a text that is a JSON object or list."""
    opens = isinstance(value, str) and value.lstrip().startswith(("{", "["))
    return parsed(value) if opens else value


def _nothing(path: str, done: str, value: Any, step: str) -> DataError:
    if isinstance(value, Mapping):
        names = list(value)
        shown = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
        there = f"has the names {shown}" if names else "is empty"
    elif isinstance(value, list):
        there = f"is a list of {len(value)}"
    else:
        there = f"is {short_repr(value, 80)}"
    return DataError(f"there is no {step} for the path {path}: {done or 'the span'} {there}")
