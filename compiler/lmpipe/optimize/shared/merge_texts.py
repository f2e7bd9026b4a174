"""Merge texts that were made from one text at the same time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

# The first and the last line of a text that a change replaces, and the new lines in their place.
_Change = tuple[int, int, tuple[str, ...]]


def merge_lines(base: str, texts: Sequence[str]) -> str | None:
    """Make all changes of lines that some texts make to the text that they come from.

    Lines that several texts add at the same place follow each other there, equal ones once.

    Returns:
        The merged text; None if two of them change the same lines in different ways.
    """
    lines = base.splitlines()
    changes = dict.fromkeys(change for text in texts for change in _changes(lines, text))
    merged: list[str] = []
    done, added = 0, set[str]()  # the lines of the base so far, and those added after them
    for start, end, new in sorted(changes, key=lambda change: change[:2]):
        if start < done:
            return None
        if start > done:
            merged += lines[done:start]
            added.clear()
        merged += [line for line in new if line not in added]
        added.update(new)
        done = end
    return "\n".join(merged + lines[done:])


def _changes(lines: Sequence[str], text: str) -> Iterator[_Change]:
    new = text.splitlines()
    matcher = SequenceMatcher(a=lines, b=new, autojunk=False)
    for kind, start, end, first, last in matcher.get_opcodes():
        if kind != "equal":
            yield start, end, tuple(new[first:last])
