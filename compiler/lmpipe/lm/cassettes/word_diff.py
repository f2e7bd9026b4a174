"""Word-by-word differences between two texts, as plain text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Literal

from lmpipe.foundation.shorten import shorten_middle

Change = Literal["same", "old", "new"]
Piece = tuple[Change, str]

_TOKEN = re.compile(r"\n|[^\S\n]+|\w+|[^\w\s]")
_MARKS = {"same": ("", ""), "old": ("[-", "-]"), "new": ("{+", "+}")}

# Marks an added or removed end of line.
_END = "⏎"

# Longer blocks are shown whole, as comparing them word by word would take seconds.
_MAX_TOKENS = 3000
# Blocks with a lower similarity are shown one after the other.
_MIN_SIMILARITY = 0.4


def changed_lines(
    old: str, new: str, *, context: int = 48, max_change: int = 160, max_lines: int = 8
) -> list[str]:
    """Return the lines that differ, with `[-old text-]` and `{+new text+}` marked.

    `context` is the characters of unchanged text shown beside a change, `max_change` those of one
    change. If there are more than `max_lines`, the last one gives their number.
    """
    lines = [_shorten(line, context, max_change) for line in _lines(_pieces(old, new))]
    if len(lines) > max_lines:
        lines[max_lines - 1 :] = [f"… and {len(lines) - max_lines + 1} more lines that differ"]
    return lines


def _pieces(old: str, new: str) -> Iterator[Piece]:
    """Compare line by line first, then word by word where lines were replaced."""
    before, after = old.splitlines(keepends=True), new.splitlines(keepends=True)
    for kind, a, b, c, d in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        was, now = "".join(before[a:b]), "".join(after[c:d])
        if kind == "equal":
            yield "same", was
        elif kind == "replace":
            yield from _word_pieces(was, now)
        else:
            yield from _whole(was, now)


def _word_pieces(old: str, new: str) -> Iterator[Piece]:
    before, after = _TOKEN.findall(old), _TOKEN.findall(new)
    start = _common(before, after)
    end = _common(before[start:][::-1], after[start:][::-1])
    middle = before[start : len(before) - end], after[start : len(after) - end]
    if start:
        yield "same", "".join(before[:start])
    yield from _middle(*middle)
    if end:
        yield "same", "".join(before[len(before) - end :])


def _middle(before: Sequence[str], after: Sequence[str]) -> Iterator[Piece]:
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    if len(before) + len(after) > _MAX_TOKENS or matcher.ratio() < _MIN_SIMILARITY:
        yield from _whole("".join(before), "".join(after))
        return
    was, now = "", ""
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "equal" and ("\n" in before[a:b] or "".join(before[a:b]).strip()):
            yield from _whole(was, now)
            yield "same", "".join(before[a:b])
            was, now = "", ""
        else:  # a space between two changes does not separate them
            was, now = was + "".join(before[a:b]), now + "".join(after[c:d])
    yield from _whole(was, now)


def _whole(old: str, new: str) -> Iterator[Piece]:
    if old:
        yield "old", old
    if old and new and not old[-1].isspace():
        yield "same", " "
    if new:
        yield "new", new


def _common(first: Sequence[str], second: Sequence[str]) -> int:
    pairs = enumerate(zip(first, second, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(first), len(second)))


def _lines(pieces: Iterator[Piece]) -> Iterator[list[Piece]]:
    """Split the pieces into lines, and leave out lines without a change."""
    line: list[Piece] = []
    for change, text in pieces:
        *ended, rest = text.split("\n")
        for part in ended:
            line.append((change, part or (_END if change != "same" else "")))
            if any(kind != "same" for kind, _ in line):
                yield line
            line = []
        if rest:
            line.append((change, rest))
    if any(kind != "same" for kind, _ in line):
        yield line


def _shorten(line: list[Piece], context: int, max_change: int) -> str:
    shown = []
    for place, (change, text) in enumerate(line):
        opening, closing = _MARKS[change]
        if change == "same":
            first, last = place == 0, place == len(line) - 1
            shown.append(
                shorten_middle(text, head=0 if first else context, tail=0 if last else context)
            )
        else:
            core = text.strip() or text  # spaces at its ends are shown outside the marks
            before, after = text.split(core, 1)
            shown.append(
                f"{before}{opening}{shorten_middle(core, head=max_change, tail=0)}{closing}{after}"
            )
    return "".join(shown).strip()
