"""Read the beginning of a JSON value, in time linear in its length."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from pydantic_core import from_json

from lmpipe.layouts.layout import Part

# A string (cut off, if it is the last token), a bracket, a separator, or another scalar.
_TOKEN = re.compile(
    r'(?P<string>"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z))'
    r'|(?P<open>[\[{])|(?P<close>[\]}])|(?P<mark>[,:])|(?P<scalar>[^\s",:\[\]{}]++)',
    re.DOTALL,
)


def partial_value(text: str) -> Any:
    """Parse what there is of a JSON value, without a scalar that may go on, or return None."""
    last = None
    for token in _TOKEN.finditer(text):
        last = token
    if last is not None and last["scalar"] and last.end() == len(text):
        text = text[: last.start()]
    try:
        return from_json(text, allow_partial="trailing-strings")
    except ValueError:
        return None


def partial_members(text: str, start: int) -> dict[str, Part]:
    """Read the members of an object whose opening brace is before `start`.

    The last one may be incomplete. A scalar that may go on is left out, and so is everything
    from the first error on.
    """
    found: dict[str, Part] = {}
    with suppress(ValueError):
        for key, begin, end, kind in _spans(text, start):
            value = text[begin:end]
            found[key] = (
                Part(_content(value), "string") if kind == "string" else Part(value, "json")
            )
    return found


def _spans(text: str, start: int) -> Iterator[tuple[str, int, int, str]]:
    """Yield the key of each member, where its value begins and ends, and the kind of its token."""
    key, begin, end, depth, awaits_value = "", start, start, 0, False
    for token in _TOKEN.finditer(text, start):
        end = token.end()
        if depth == 0 and token["close"]:
            return
        if depth == 0 and token["mark"]:
            awaits_value = token[0] == ":"
        elif depth == 0 and not awaits_value:
            key = _content(token[0])
        else:
            begin = begin if depth else token.start()
            depth += bool(token["open"]) - bool(token["close"])
            if depth == 0 and (token.lastgroup != "scalar" or end < len(text)):
                yield key, begin, end, token.lastgroup or ""
    if depth:
        yield key, begin, end, "open"


def _content(token: str) -> str:
    """The content of a string that may be cut off, without an unfinished escape at its end."""
    return str(from_json(token, allow_partial="trailing-strings"))
