"""Texts that are valid Unicode: JSON can hold halves of characters, which no file can."""

from __future__ import annotations


def valid_unicode(text: str) -> str:
    """Join the two halves of a character; a half alone becomes the replacement character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
