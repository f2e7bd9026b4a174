"""Cut long texts for messages, tables and prompts."""

from __future__ import annotations

import re

_ELLIPSIS = "…"
_LONG_RUN = re.compile(r"([A-Za-z0-9+/_-]{8})[A-Za-z0-9+/=_-]{92,}")
_ESCAPED = re.compile(r"(?<=\bb')(?:[^'\\]|\\.){40,}")  # long bytes in a repr
_DATA = re.compile(r"(;base64,)[A-Za-z0-9+/=_-]+")


def shorten(text: str, limit: int) -> str:
    """Cut a text at its end to `limit` characters, 1 or more; the last one then is an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1] + _ELLIPSIS


def shorten_middle(text: str, *, head: int, tail: int) -> str:
    """Cut a text in its middle, between words where one ends nearby.

    `head` and `tail` are how many characters to keep at the start and the end; 0 keeps none.
    """
    if len(text) <= head + tail + 3:
        return text
    start, end = text[:head], text[len(text) - tail :] if tail else ""
    if head and " " in start[head * 2 // 3 :]:
        start = start.rpartition(" ")[0]
    if tail and " " in end[: tail // 3]:
        end = end.partition(" ")[2]
    return " ".join(part for part in (start, _ELLIPSIS, end) if part)


def without_data_urls(text: str) -> str:
    """Leave out the bytes in `data:` URLs, which servers may repeat in their errors."""
    return _DATA.sub(r"\1" + _ELLIPSIS, text) if ";base64," in text else text


def without_data(text: str) -> str:
    """Leave out long runs of letters and digits, as base64 has them, except their start."""
    return _LONG_RUN.sub(r"\1" + _ELLIPSIS, text)


def repr_without_data(value: object, limit: int = 200) -> str:
    """Return the `repr` of a value that may hold a medium, without its bytes, cut at its end."""
    if isinstance(value, bytes | bytearray | memoryview):
        return f"{len(value):,} bytes"
    return shorten(without_data(_ESCAPED.sub(_ELLIPSIS, repr(value))), limit)


def short_repr(value: object, limit: int = 200) -> str:
    """Return the `repr` of a value, cut at its end; `limit` is in characters."""
    return shorten(repr(value), limit)


def one_line(value: object, limit: int = 300) -> str:
    """Put a text, or the `repr` of another value, on one line of at most `limit` characters."""
    text = value if isinstance(value, str) else repr(value)
    return shorten(" ".join(text.split()), limit)
