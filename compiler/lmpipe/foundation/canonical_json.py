"""Canonical JSON: equal values have the same bytes and the same hash.

Cache keys, state hashes and artifact hashes depend on these bytes: sorted keys, no white space,
UTF-8, null for NaN.
"""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

from lmpipe.foundation.exact_json import dump_json
from lmpipe.foundation.unicode_text import with_valid_texts


def canonical_json(value: Any) -> bytes:
    """Encode a JSON value canonically; raise a TypeError if it is not a JSON value."""
    return dump_json(value, option=orjson.OPT_SORT_KEYS)


def record_json(value: Any) -> bytes:
    """Encode a record of what happened like `canonical_json`, with valid Unicode in its texts.

    What a program returns, or an exception says, may hold halves of characters.
    """
    try:
        return canonical_json(value)
    except TypeError:
        return canonical_json(with_valid_texts(value))


def pretty_json(value: Any, *, sort_keys: bool = True) -> bytes:
    """Encode a JSON value for people: indented by two spaces, with a newline at the end.

    With sorted keys, equal values have equal bytes; otherwise their order is kept.
    """
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    if sort_keys:
        options |= orjson.OPT_SORT_KEYS
    return dump_json(value, option=options)


def digest(value: Any) -> str:
    """Hash a JSON value: SHA-256 of its canonical encoding, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(value)).hexdigest()
