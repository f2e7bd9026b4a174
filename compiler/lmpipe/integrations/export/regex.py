"""Regular expressions that mean the same in Python and in JavaScript.

Replies may be long and hostile, so an expression takes time in proportion to the reply's length:
what a repetition may match does not begin what stands after it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# White space as Python's `str.isspace` has it.
SPACE = r"[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
# White space within a line, and that which is neither a blank nor a tab.
INDENT = SPACE.replace(r"\t-\r", r"\t\x0b-\r")
OTHER_SPACE = SPACE.replace(r"\t-\r", r"\n-\r").replace(r"\x1c-\x20", r"\x1c-\x1f")
NEVER = "(?!)"


def literal(text: str) -> str:
    """Match a text itself."""
    return re.sub(r"[\\^$.*+?()[\]{}|/]", r"\\\g<0>", text)


def any_of(texts: Iterable[str]) -> str:
    """Match one of some texts."""
    return f"(?:{'|'.join(map(literal, texts))})"


def in_any_spelling(name: str) -> str:
    """Match a name in any letter case, with blanks, underscores and hyphens between its letters."""
    letters = [letter for letter in name if letter not in " _-"]
    return "[ _-]*".join(_in_any_case(letter) for letter in letters)


def _in_any_case(letter: str) -> str:
    cases = dict.fromkeys((letter.lower(), letter.upper()))
    return f"[{''.join(cases)}]" if all(len(case) == 1 for case in cases) else literal(letter)
