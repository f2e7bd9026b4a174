"""Read and write JSON without losing digits: orjson's speed, and integers of any size."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import orjson

# orjson reads integers of more than 64 bits as floats; they have 19 digits or more.
_LONG_NUMBER = re.compile(r"[0-9]{19}")
_LONG_NUMBER_BYTES = re.compile(rb"[0-9]{19}")
_MIN_INT, _MAX_INT = -(2**63), 2**64 - 1


def load_json(data: str | bytes) -> Any:
    """Read JSON; whole numbers keep all their digits.

    Raises:
        orjson.JSONDecodeError: if it is not JSON, or has an integer with more digits than Python
            reads.
    """
    pattern: re.Pattern[Any] = _LONG_NUMBER if isinstance(data, str) else _LONG_NUMBER_BYTES
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        if "infinity" not in error.msg:  # of an integer that exceeds the largest float
            raise
    else:
        if not pattern.search(data):
            return value
    try:
        return json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        text = data if isinstance(data, str) else data.decode(errors="replace")
        raise orjson.JSONDecodeError(str(error), text, 0) from error


def dump_json(value: Any, *, option: int = 0, default: Callable[[Any], Any] | None = None) -> bytes:
    """Write JSON as orjson does, with integers of any size; mappings become objects.

    Raises:
        TypeError: if the value is not JSON, and `default` does not convert it.
    """
    convert = default or _plain
    try:
        return orjson.dumps(value, option=option, default=convert)
    except TypeError:
        return orjson.dumps(_with_long_integers(value), option=option, default=convert)


def json_fragment(value: Any) -> Any:
    """Write a value now, to be a part of JSON that is written later.

    Raises:
        TypeError: if the value is not JSON.
    """
    return orjson.Fragment(dump_json(value))  # pyright: ignore[reportAttributeAccessIssue]


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _with_long_integers(value: Any) -> Any:
    """Copy a value, writing each integer that orjson refuses as a fragment of JSON."""
    if type(value) is int and not _MIN_INT <= value <= _MAX_INT:
        try:
            return orjson.Fragment(str(value))  # pyright: ignore[reportAttributeAccessIssue]
        except ValueError as error:
            raise TypeError(str(error)) from error
    if isinstance(value, Mapping):
        return {key: _with_long_integers(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_long_integers(item) for item in value]
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"not a JSON value: {type(value).__name__}")
