"""Find the JSON objects and arrays in a text, in time linear in its length."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from lmpipe.foundation.exact_json import load_json

_MARK = re.compile(r'\\.|["{}\[\]]', re.DOTALL)
_OPENING = {"}": "{", "]": "["}
# What JSON has after its first brace or bracket; prose seldom does.
_JSON_START = re.compile(r"""\{\s*(?:["'}]|\w+\s?:)|\[\s*["'{\[\]0-9-]""")
_DEEPEST = 100
# Each value may be checked against the outputs' types, which is slow.
_MOST = 1000


@dataclass(frozen=True, slots=True)
class Found:
    """What a text holds, in its order.

    Args:
        values: the JSON values.
        broken: balanced braces or brackets whose text is not JSON.
        whole: whether the text is one JSON value, fenced or not, and nothing else.
    """

    values: tuple[Any, ...]
    broken: tuple[str, ...] = ()
    whole: bool = False


def find_json(text: str) -> Found:
    """Find the outermost JSON values in a text: itself, or those in braces or brackets.

    That of the first code fence goes before the others. What is inside an object or array that
    does not end is left out: it is a part of a longer value. So is what comes after the first
    thousand values.
    """
    text = text.strip()
    with suppress(ValueError, RecursionError):
        return Found((read_shallow(text),), whole=True)
    values: list[Any] = []
    broken: list[str] = []
    opened, closed = _fence(text)
    try:
        content = text[opened:closed].strip("`").removeprefix("json")
        values.append(read_shallow(content.strip()))
    except (ValueError, RecursionError):
        opened = closed = 0
    if values and closed - opened == len(text):
        return Found(tuple(values), whole=True)
    done, cost_left = 0, 4 * len(text) + 10_000  # of parsing parts of parts
    for start, end in _spans(text):
        if len(values) + len(broken) >= _MOST:
            break
        if start < done or cost_left < end - start or opened <= start < closed:
            continue
        cost_left -= end - start
        part = text[start:end]
        try:
            values.append(read_shallow(part))
        except (ValueError, RecursionError):
            if not _is_wrapping(part):
                broken.append(part)
                done = end
            continue
        done = end
    return Found(tuple(values), tuple(broken))


def read_shallow(text: str) -> Any:
    """Read JSON that is not nested too deeply.

    Raises:
        ValueError: if the text is not such JSON.
    """
    value = load_json(text)
    check_depth(value)
    return value


def is_object(text: str) -> bool:
    """Whether a text is one JSON object and nothing else."""
    try:
        return isinstance(load_json(text), dict)
    except ValueError:
        return False


def check_depth(value: Any, depth: int = 0) -> None:
    """Refuse a value that is nested so deeply that it cannot be written into a trace.

    Raises:
        ValueError: if it is.
    """
    if depth > _DEEPEST:
        raise ValueError("nested too deeply")
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            check_depth(item, depth + 1)


def _fence(text: str) -> tuple[int, int]:
    """The span of the first code fence that begins a line, or (0, 0)."""
    start = 0 if text.startswith("```") else text.find("\n```") + 1
    end = text.find("```", start + 3)
    return (start, end + 3) if text.startswith("```", start) and end >= 0 else (0, 0)


def _is_wrapping(part: str) -> bool:
    """Whether braces or brackets only hold other ones and prose, as in `{{"a": 1}}`."""
    if _JSON_START.match(part):
        return False
    inside = part[1:-1]
    first = min((at for at in (inside.find("{"), inside.find("[")) if at >= 0), default=-1)
    last = max(inside.rfind("}"), inside.rfind("]"))
    if first < 0 or last < first:
        return False
    return not re.search(r"""["':,]""", inside[:first] + inside[last + 1 :])


def _spans(text: str) -> list[tuple[int, int]]:
    """The spans of balanced braces and brackets, by their start."""
    exact, never_closed = _balanced(text, strings=True)
    loose, _ = _balanced(text, strings=False)  # for a value with an odd number of quotes
    unfinished = [at for at in never_closed if _JSON_START.match(text, at)]
    limit = min(unfinished, default=len(text))
    return sorted((start, end) for start, end in {**loose, **exact}.items() if start <= limit)


def _balanced(text: str, *, strings: bool) -> tuple[dict[int, int], list[int]]:
    """The ends of balanced braces and brackets by their start, and the places of the others.

    With `strings`, those inside double quotes are left out.
    """
    ends: dict[int, int] = {}
    open_at: dict[str, int] = {"{": 0, "[": 0}  # how many are open
    stack: list[int] = []
    quoted = False
    for match in _MARK.finditer(text):
        mark = match[0]
        if len(mark) == 2:
            continue
        if mark == '"':
            quoted = strings and bool(stack) and not quoted
        elif quoted:
            continue
        elif mark in open_at:
            stack.append(match.start())
            open_at[mark] += 1
        elif open_at[_OPENING[mark]]:
            start = stack.pop()
            while text[start] != _OPENING[mark]:  # those inside it do not close
                open_at[text[start]] -= 1
                start = stack.pop()
            open_at[text[start]] -= 1
            ends[start] = match.end()
    return ends, stack
