"""Canonical JSON: equal values have the same bytes and the same hash.

Cache keys, state hashes and artifact hashes depend on these bytes: sorted keys, no white space,
UTF-8, null for NaN.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson


def canonical_json(value: Any) -> bytes:
    """Encode a JSON value canonically; raise a TypeError if it is not a JSON value."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS, default=_plain)


def pretty_json(value: Any, *, sort_keys: bool = True) -> bytes:
    """Encode a JSON value for people: indented by two spaces, with a newline at the end.

    With sorted keys, equal values have equal bytes; otherwise their order is kept.
    """
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    if sort_keys:
        options |= orjson.OPT_SORT_KEYS
    return orjson.dumps(value, option=options, default=_plain)


def digest(value: Any) -> str:
    """Hash a JSON value: SHA-256 of its canonical encoding, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"not a JSON value: {type(value).__name__}")
