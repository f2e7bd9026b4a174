"""Turn regular expressions of a schema into what grammar engines understand."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Sequence
from typing import Any, Literal

from lmpipe.layouts.gbnf import LONGEST_COUNTED, escape_in_set, quote

# The standard library's parser of regular expressions; it is the same in all supported versions.
_parser = importlib.import_module("re._parser")

# How a pattern is written: as a rule for text, as a rule for the inside of a JSON string, or as a
# regular expression that engines can read.
Target = Literal["text", "json", "regex"]

_CATEGORIES = {
    "CATEGORY_DIGIT": [("0", "9")],
    "CATEGORY_WORD": [("0", "9"), ("A", "Z"), ("_", "_"), ("a", "z")],
    "CATEGORY_SPACE": [(" ", " ")],
}
_SIMPLE = frozenset({"LITERAL", "NOT_LITERAL", "ANY", "IN", "SUBPATTERN"})
_SPECIAL = frozenset("\\^$.[]|(){}*+?")
_ESCAPE = r'"\\" ( ["\\/bfnrt] | "u" [0-9a-fA-F]{4} )'
_Ranges = list[tuple[str, str]]


class _UnsupportedError(ValueError):
    """Grammar engines have no such construct."""


def pattern_rule(pattern: str, *, in_json: bool) -> str | None:
    """Write the texts that match a pattern as the body of a rule, or return None."""
    return _translate(pattern, "json" if in_json else "text")


def plain_pattern(pattern: str) -> str | None:
    """Write a pattern with the basic constructs that engines know, or return None."""
    written = _translate(pattern, "regex")
    return None if written is None else f"^{written}$"


def _translate(pattern: str, target: Target) -> str | None:
    try:
        return _Writer(target).whole(list(_parser.parse(pattern)))
    except (re.error, _UnsupportedError, RecursionError, OverflowError):
        return None


class _Writer:
    def __init__(self, target: Target) -> None:
        self._target = target
        self._space = "" if target == "regex" else " "

    def whole(self, items: list[Any]) -> str:
        """Write a pattern that may match anywhere in a text."""
        if len(items) == 1 and str(items[0][0]) == "BRANCH":
            return "(" + "|".join(self.whole(list(option)) for option in items[0][1][1]) + ")"
        begins = bool(items) and _is_anchor(items[0], "BEGINNING")
        ends = bool(items) and _is_anchor(items[-1], "END")
        inside = self.sequence(items[begins : len(items) - ends])
        parts = ["" if begins else f"{self._any()}*", inside, "" if ends else f"{self._any()}*"]
        return self._space.join(filter(None, parts)) or '""'

    def sequence(self, items: Sequence[Any]) -> str:
        return self._space.join(self.item(str(kind), value) for kind, value in items)

    def item(self, kind: str, value: Any) -> str:
        match kind:
            case "LITERAL":
                return self._literal(chr(value))
            case "NOT_LITERAL":
                return self._set([(chr(value), chr(value))], negated=True)
            case "ANY":
                return self._any()
            case "IN":
                return self._class(value)
            case "SUBPATTERN":
                inside = list(value[3])
                is_branch = len(inside) == 1 and str(inside[0][0]) == "BRANCH"
                return self.sequence(inside) if is_branch else self._group(self.sequence(inside))
            case "BRANCH":
                return self._group("|".join(self.sequence(list(option)) for option in value[1]))
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                return self._repeat(*value)
        raise _UnsupportedError(kind)

    def _any(self) -> str:
        return self._set([("\n", "\n")], negated=True)

    def _group(self, body: str) -> str:
        return f"({self._space}{body}{self._space})"

    def _repeat(self, low: int, high: Any, items: Any) -> str:
        endless = high is _parser.MAXREPEAT
        if low > LONGEST_COUNTED or (not endless and high > LONGEST_COUNTED):
            raise _UnsupportedError("a long repetition")
        marks = {(0, True): "*", (1, True): "+"}
        last = "" if endless else high
        mark = marks.get((low, endless)) or (f"{{{low}}}" if low == last else f"{{{low},{last}}}")
        parts = list(items)
        body = self.sequence(parts)
        simple = len(parts) == 1 and str(parts[0][0]) in _SIMPLE
        return (body if simple else self._group(body)) + mark

    def _literal(self, char: str) -> str:
        if self._target == "regex":
            return "\\" + char if char in _SPECIAL else char
        return quote(json.dumps(char, ensure_ascii=False)[1:-1] if self._target == "json" else char)

    def _class(self, members: Sequence[Any]) -> str:
        negated, ranges = False, _Ranges()
        for kind, value in members:
            match str(kind):
                case "NEGATE":
                    negated = True
                case "LITERAL":
                    ranges.append((chr(value), chr(value)))
                case "RANGE":
                    ranges.append((chr(value[0]), chr(value[1])))
                case "CATEGORY" if str(value) in _CATEGORIES:
                    ranges += _CATEGORIES[str(value)]
                case "CATEGORY" if len(members) == 1:  # \D, \W or \S
                    negated = True
                    ranges += _CATEGORIES[str(value).replace("_NOT", "")]
                case _:
                    raise _UnsupportedError(str(kind))
        return self._set(ranges, negated=negated)

    def _set(self, ranges: _Ranges, *, negated: bool) -> str:
        inside = "".join(
            escape_in_set(low) + (f"-{escape_in_set(high)}" if high != low else "")
            for low, high in ranges
        )
        if self._target == "text":
            return f"[^{inside}\\n]" if negated else f"[{inside}]"
        if negated and self._target == "regex":
            raise _UnsupportedError("engines forget the quotes of JSON")
        if negated:
            return rf'( [^{inside}"\\\x00-\x1f] | {_ESCAPE} )'
        if self._target == "regex":
            return f"[{inside}]"
        if any(low < " " for low, _ in ranges):
            raise _UnsupportedError("a control character")
        special = [char for char in '"\\' if any(low <= char <= high for low, high in ranges)]
        if not special:
            return f"[{inside}]"
        kept = "".join(escape_in_set(low) for low, high in ranges if low == high not in special)
        if any(low != high for low, high in ranges):
            raise _UnsupportedError("a range with a quote or a backslash")
        options = [quote("\\" + char) for char in special] + ([f"[{kept}]"] if kept else [])
        return f"( {' | '.join(options)} )"


def _is_anchor(item: Any, side: str) -> bool:
    return str(item[0]) == "AT" and str(item[1]) in (f"AT_{side}", f"AT_{side}_STRING")
