"""Which words of a text were taken out, and which were put in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal, TypeAlias

# A shorter stretch that two texts share is no help between two changes.
_MIN_SHARED = 2  # words
# With the space before it, so that the last word of a text is the same if more words follow.
_WORD = re.compile(r"\s*\S+|\s+")

Kind: TypeAlias = Literal["same", "gone", "new"]


@dataclass(frozen=True)
class Piece:
    """A piece of a text before and after: in both, only before (`gone`) or only after (`new`)."""

    kind: Kind
    text: str

    def to_json(self) -> list[str]:
        """Return the kind and the text."""
        return [self.kind, self.text]


def compare_words(before: str, after: str) -> tuple[Piece, ...]:
    """Compare two texts word by word.

    The pieces that are the same or gone make the text before; those that are the same or new make
    the text after.
    """
    if before == after:
        return (Piece("same", before),) if before else ()
    old, new = _WORD.findall(before), _WORD.findall(after)
    spans = SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    return tuple(_joined(_pieces(spans, old, new)))


def _pieces(
    spans: Sequence[tuple[str, int, int, int, int]], old: Sequence[str], new: Sequence[str]
) -> Iterator[Piece]:
    last = len(spans) - 1
    for place, (kind, start, end, new_start, new_end) in enumerate(spans):
        shared = kind == "equal"
        if shared and (place in (0, last) or end - start >= _MIN_SHARED):
            yield Piece("same", "".join(old[start:end]))
            continue
        yield Piece("gone", "".join(old[start:end]))
        yield Piece("new", "".join(new[new_start:new_end]))


def _joined(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """Join what is gone, and what is new, between two pieces that are the same."""
    texts: dict[Kind, str] = {"gone": "", "new": ""}
    for piece in (*pieces, None):
        if piece is not None and piece.kind != "same":
            texts[piece.kind] += piece.text
            continue
        for kind, text in texts.items():
            if text:
                yield Piece(kind, text)
                texts[kind] = ""
        if piece is not None:
            yield piece
