"""Show texts of others on a terminal without obeying what is in them."""

from __future__ import annotations

import re

# Control characters but the newline and the tab, marks that reorder text, and lone surrogates.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str) -> str:
    r"""Return a text with its control characters written as escapes, such as `\x1b`.

    Newlines and tabs stay. A terminal would move, recolour or rename itself for some of the others.
    """
    return _UNPRINTABLE.sub(lambda match: ascii(match[0])[1:-1], text)
