"""Cut long texts for messages, tables and prompts."""

from __future__ import annotations

_ELLIPSIS = "…"


def shorten(text: str, limit: int) -> str:
    """Cut a text at its end.

    Args:
        text: the text.
        limit: the maximum length of the result in characters, 1 or more; where something was cut,
            the last of them is an ellipsis.
    """
    return text if len(text) <= limit else text[: limit - 1] + _ELLIPSIS


def shorten_middle(text: str, *, head: int, tail: int) -> str:
    """Cut a text in its middle, between words where one ends nearby.

    Args:
        text: the text.
        head: how many characters to keep at the start; 0 keeps none.
        tail: how many characters to keep at the end; 0 keeps none.
    """
    if len(text) <= head + tail + 3:
        return text
    start, end = text[:head], text[len(text) - tail :] if tail else ""
    if head and " " in start[head * 2 // 3 :]:
        start = start.rpartition(" ")[0]
    if tail and " " in end[: tail // 3]:
        end = end.partition(" ")[2]
    return " ".join(part for part in (start, _ELLIPSIS, end) if part)


def short_repr(value: object, limit: int = 200) -> str:
    """Return the `repr` of a value, cut at its end; `limit` is in characters."""
    return shorten(repr(value), limit)


def one_line(value: object, limit: int = 300) -> str:
    """Put a value on one line, cut at its end.

    Args:
        value: a text, or any other value, which is shown by its `repr`.
        limit: the maximum length in characters.
    """
    text = value if isinstance(value, str) else repr(value)
    return shorten(" ".join(text.split()), limit)
