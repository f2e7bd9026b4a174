"""Texts that are valid Unicode: JSON can hold halves of characters, which no file can."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def valid_unicode(text: str) -> str:
    """Join the two halves of a character; a half alone becomes the replacement character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def with_valid_texts(value: Any) -> Any:
    """Copy a JSON value with valid Unicode in all its texts and keys."""
    if isinstance(value, str):
        return valid_unicode(value)
    if isinstance(value, Mapping):
        return {with_valid_texts(key): with_valid_texts(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [with_valid_texts(item) for item in value]
    return value
