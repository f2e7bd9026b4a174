"""How new an input is beside the data of a compile: a few numbers for each field.

A text is as new as the share of its words that the data do not have, and as odd as its length. A
number is as odd as its distance from the median. Other values are read as the words of their JSON;
media are left out.
"""

from __future__ import annotations

import base64
import math
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from lmpipe.errors import DataError
from lmpipe.foundation.canonical_json import record_json
from lmpipe.foundation.media import is_pil, medium_in
from lmpipe.signatures.field_types.media import Medium

_WORD = re.compile(r"\w+")
_LONGEST = 20_000  # characters of a text that are read
_MOST_WORDS = 16_384  # of one field
_WIDTH = 4  # bytes of a word's hash
_LARGEST = 1e150  # of a number


def words_of(value: object) -> frozenset[int]:
    """Return the hashes of the different words of a text."""
    found = _WORD.findall(str(value)[:_LONGEST].casefold())
    return frozenset(zlib.crc32(word.encode(errors="replace")) for word in set(found))


def number_of(value: object) -> float | None:
    """Return a value as a number; None for what is not one, and for numbers without bounds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if -_LARGEST < value < _LARGEST else None


def text_of(value: object) -> str | None:
    """Return a value as text; None for media, and what else has no text."""
    if isinstance(value, str):
        return value
    if value is None or _shows_media(value):
        return None
    from lmpipe.data.example import jsonable

    try:
        plain = jsonable(value)
    except DataError:
        return None
    return None if _has_media(plain) else record_json(plain).decode()


def _shows_media(value: object) -> bool:
    """Whether a value is a medium, or a list with one: its bytes need not become JSON first."""
    if isinstance(value, list | tuple):
        return any(map(_shows_media, value))
    return isinstance(value, bytes | Medium) or is_pil(value)


def _has_media(plain: object) -> bool:
    """Whether a JSON value is a medium, or has one in it."""
    if medium_in(plain) is not None:
        return True
    if isinstance(plain, Mapping):
        return any(map(_has_media, plain.values()))
    return isinstance(plain, list) and any(map(_has_media, plain))


@dataclass(frozen=True)
class Words:
    """The words of a field in the data of a compile, as hashes.

    If there are many, it has only those whose hash is below a limit, and knows nothing of others:
    a sample of all words that is the same for every text.
    """

    hashes: frozenset[int]
    below: int

    @staticmethod
    def of(texts: Iterable[frozenset[int]]) -> Words:
        """Collect the words of texts."""
        every = sorted(set[int]().union(*texts))
        below = every[_MOST_WORDS] if len(every) > _MOST_WORDS else 2**32
        return Words(frozenset(every[:_MOST_WORDS]), below)

    def new_share(self, text: frozenset[int]) -> float:
        """Return the share of the words of a text that are not among these."""
        known = [word for word in text if word < self.below]
        if not known:
            return 0.0
        return sum(word not in self.hashes for word in known) / len(known)

    def to_json(self) -> dict[str, Any]:
        packed = b"".join(word.to_bytes(_WIDTH, "big") for word in sorted(self.hashes))
        return {"words": base64.b64encode(packed).decode(), "below": self.below}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Words:
        packed = base64.b64decode(value["words"])
        parts = range(0, len(packed), _WIDTH)
        hashes = (int.from_bytes(packed[start : start + _WIDTH], "big") for start in parts)
        return Words(frozenset(hashes), int(value["below"]))


def left_out_shares(texts: Sequence[frozenset[int]], words: Words) -> list[float]:
    """Return for each text the share of its words that no other text has.

    So it is measured like a text that is not among the data.
    """
    counts = Counter(word for text in texts for word in text)
    found = []
    for text in texts:
        known = [word for word in text if word < words.below]
        found.append(sum(counts[word] == 1 for word in known) / len(known) if known else 0.0)
    return found


def length_of(text: str) -> float:
    """Return the length of a text on a scale of doublings."""
    return math.log2(1 + len(text))


def oddness(values: Sequence[float]) -> tuple[float, list[float]]:
    """Return the median of numbers, and the distance of each from the median of the others."""
    order = sorted(values)
    places: dict[float, int] = {value: place for place, value in enumerate(order)}
    distances = [abs(value - _median_without(order, places[value])) for value in values]
    return median(order), distances


def _median_without(order: Sequence[float], left_out: int) -> float:
    """Return the median of sorted numbers without the one at a place."""
    count = len(order) - 1
    middle = ((count - 1) // 2, count // 2)
    return sum(order[place + (place >= left_out)] for place in middle) / 2
