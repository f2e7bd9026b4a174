"""Repair JSON that is almost right: single quotes, trailing commas, `True`, comments, odd quotes.

A repair is accepted only if the text spells it: all keys and values stand in the text, in order,
with the punctuation of JSON between them and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from lmpipe.foundation.exact_json import dump_json
from lmpipe.foundation.unicode_text import with_valid_texts
from lmpipe.layouts.find_json import check_depth, read_shallow

# The time of a repair grows faster than the text.
_LONGEST = 16_000
_QUOTES = "\"'`\u201c\u201d\u2018\u2019"
_WORDS: dict[Any, tuple[str, ...]] = {
    True: ("true", "True", "TRUE"),
    False: ("false", "False", "FALSE"),
    None: ("null", "None", "NULL", "none"),
}
_TRIPLE_QUOTED = re.compile(r"""(\"{3}|'{3})((?:(?!\1).)*+)\1""", re.DOTALL)
_STRING_OR_COMMENT = re.compile(
    r"""(?P<string>"[^"\\]*+(?:\\.[^"\\]*+)*+"|'[^'\\]*+(?:\\.[^'\\]*+)*+')"""
    r"|//[^\n]*|/\*(?:(?!\*/).)*+\*/|\#[^\n]*",
    re.DOTALL,
)
_SPACE = re.compile(r"\s*")
_NOT_BARE = re.compile(r"""[][{}:,"\n]""")
_SCALAR = re.compile(r"[-+.\w]+")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}


def repair_json(text: str) -> Any:
    """Repair the text of an object or array; None if that would drop or invent anything."""
    if len(text) > _LONGEST:
        return None
    plainer = list(_plainer(text))
    for form in plainer:
        with suppress(ValueError, RecursionError):
            return read_shallow(form)
    for form in (text, *plainer):
        value = _repair(form)
        if value is not None:
            return value
    return None


def _plainer(text: str) -> Iterator[str]:
    """The text without what JSON never has, if it has any: comments and texts in triple quotes."""
    if '"""' in text or "'''" in text:
        text = _TRIPLE_QUOTED.sub(lambda match: dump_json(match[2]).decode(), text)
        yield text
    if "//" in text or "/*" in text or "#" in text:
        yield _STRING_OR_COMMENT.sub(lambda match: match["string"] or " ", text)


def _repair(text: str) -> Any:
    import json_repair

    try:
        value = json_repair.repair_json(text, return_objects=True)
        check_depth(value)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict | list):
        return None
    # Only a repair reads half a character, such as "\\ud83d": strict JSON has none.
    return with_valid_texts(value) if _Speller(text).spells(value) else None


class _MismatchError(Exception):
    """The text does not spell the value."""


class _Speller:
    """Checks whether a text spells a JSON value, up to quotes and trailing commas."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def spells(self, value: Any) -> bool:
        try:
            self._value(value)
        except _MismatchError:
            return False
        return self._skip_space() == len(self._text)

    def _value(self, value: Any) -> None:
        if isinstance(value, dict):
            self._items("{", "}", list(value.items()))
        elif isinstance(value, list):
            self._items("[", "]", value)
        elif isinstance(value, str):
            self._string(value)
        else:
            self._scalar(value)

    def _items(self, opening: str, closing: str, items: list[Any]) -> None:
        self._mark(opening)
        for place, item in enumerate(items):
            if place:
                self._mark(",")
            if opening == "[":
                self._value(item)
                continue
            self._string(item[0])
            self._mark(":")
            self._value(item[1])
        if self._next() == ",":
            self._at += 1
        self._mark(closing)

    def _string(self, value: str) -> None:
        quote = self._next() if self._next() in _QUOTES else ""
        self._at += len(quote)
        if not quote and (not value or _NOT_BARE.search(value)):
            raise _MismatchError
        for char in value:
            self._character(char)
        if quote and self._text[self._at : self._at + 1] not in tuple(_QUOTES):
            raise _MismatchError
        self._at += len(quote)

    def _character(self, char: str) -> None:
        text, at = self._text, self._at
        if text[at : at + 1] == char:
            self._at += 1
        elif text[at : at + 1] == "\\":
            self._escape(char)
        else:
            raise _MismatchError

    def _escape(self, char: str) -> None:
        code = self._text[self._at + 1 : self._at + 2]
        if code == "u":
            digits = self._text[self._at + 2 : self._at + 6]
            if digits.lower() != f"{ord(char):04x}":
                raise _MismatchError
            self._at += 6
        elif _ESCAPES.get(code, code) == char:
            self._at += 2
        else:
            raise _MismatchError

    def _scalar(self, value: Any) -> None:
        self._skip_space()
        match = _SCALAR.match(self._text, self._at)
        if not match or not _is_spelled(value, match[0]):
            raise _MismatchError
        self._at = match.end()

    def _mark(self, mark: str) -> None:
        if self._next() != mark:
            raise _MismatchError
        self._at += 1

    def _next(self) -> str:
        at = self._skip_space()
        return self._text[at : at + 1] or "\0"

    def _skip_space(self) -> int:
        match = _SPACE.match(self._text, self._at)
        self._at = match.end() if match else self._at
        return self._at


def _is_spelled(value: Any, word: str) -> bool:
    if value is None or isinstance(value, bool):
        return word in _WORDS[value]
    try:
        return bool(float(word) == value if isinstance(value, float) else int(word) == value)
    except ValueError:
        return False
