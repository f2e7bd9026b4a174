"""Canonical JSON: one value, one spelling, one hash.

Cache keys, state hashes and artifact hashes all rest on these bytes: keys sorted, no white space,
UTF-8, no NaN.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson


def canonical_json(value: Any) -> bytes:
    """Spell a JSON value in its one canonical way."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS, default=_plain)


def pretty_json(value: Any, *, sort_keys: bool = True) -> bytes:
    """Spell a JSON value for people: two spaces, a newline at the end.

    Args:
        value: the JSON value.
        sort_keys: sort keys, so that equal values have equal bytes; else keep their order.
    """
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    if sort_keys:
        options |= orjson.OPT_SORT_KEYS
    return orjson.dumps(value, option=options, default=_plain)


def digest(value: Any) -> str:
    """Hash a JSON value: 64 hexadecimal digits of SHA-256 over its canonical spelling."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"not a JSON value: {type(value).__name__}")
