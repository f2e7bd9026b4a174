"""`InputProfile`: what the inputs of a compile were like, as much as tells others from them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmpipe.errors import ArtifactError
from lmpipe.foundation.atomic_files import write_file
from lmpipe.foundation.canonical_json import record_json
from lmpipe.foundation.exact_json import load_json
from lmpipe.monitoring.novelty import (
    Words,
    left_out_shares,
    length_of,
    number_of,
    oddness,
    text_of,
    words_of,
)

INPUTS = "inputs.json"
_KINDS = ("words", "length", "number")
_FORMAT = 1
_MOST_ROWS = 2_000  # spread over the data
_FEWEST_ROWS = 20  # of fewer, a limit says nothing
_SHARE = 0.05  # of inputs like those of the compile that exceed a limit


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit on one number of a field.

    Args:
        kind: `words`, `length` or `number`.
        middle: the median of lengths or numbers.
        highest: the limit; a share of new words, or a distance from the median.
        above: which of the compile's inputs it is, counted from the highest, from 1.
        rows: the number of the compile's inputs that have the field.
    """

    kind: str
    middle: float
    highest: float
    above: int
    rows: int

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Limit:
        """Read what `to_json` wrote; raise a ValueError if no data can have such a limit."""
        limit = Limit(
            str(value["kind"]),
            float(value["middle"]),
            float(value["highest"]),
            int(value["above"]),
            int(value["rows"]),
        )
        if limit.kind not in _KINDS or not 1 <= limit.above <= limit.rows:
            raise ValueError(f"{dict(value)} is not a limit")
        return limit


@dataclass(frozen=True)
class InputProfile:
    """What the inputs of a compile were like.

    Args:
        limits: by field, and what of it is measured: `message words`.
        words: the words of each text field.
    """

    limits: Mapping[str, Limit]
    words: Mapping[str, Words]

    @staticmethod
    def of(rows: Sequence[Mapping[str, Any]]) -> InputProfile:
        """Measure the inputs of a compile: up to 2,000 rows, spread over the data."""
        step = max(1, math.ceil(len(rows) / _MOST_ROWS))
        taken = rows[::step]
        limits: dict[str, Limit] = {}
        words: dict[str, Words] = {}
        for name in dict.fromkeys(name for row in taken for name in row):
            values = [row[name] for row in taken if row.get(name) is not None]
            if len(values) < _FEWEST_ROWS:
                continue
            numbers = [number for value in values if (number := number_of(value)) is not None]
            if len(numbers) == len(values):
                _add_limit(limits, name, "number", *oddness(numbers))
                continue
            texts = [text for value in values if (text := text_of(value)) is not None]
            if len(texts) < _FEWEST_ROWS:
                continue
            sets = [words_of(text) for text in texts]
            words[name] = Words.of(sets)
            _add_limit(limits, name, "words", 0.0, left_out_shares(sets, words[name]))
            _add_limit(limits, name, "length", *oddness([length_of(text) for text in texts]))
        return InputProfile(limits, words)

    @property
    def fields(self) -> frozenset[str]:
        """The inputs that are measured."""
        return frozenset(name.removesuffix(f" {limit.kind}") for name, limit in self.limits.items())

    def exceeded(self, inputs: Mapping[str, Any]) -> dict[str, bool]:
        """Return for each limit whether inputs exceed it; not for fields that they lack."""
        found: dict[str, bool] = {}
        for name, value in inputs.items():
            if value is None:
                continue
            if (limit := self.limits.get(f"{name} number")) is not None:
                if (number := number_of(value)) is not None:
                    found[f"{name} number"] = abs(number - limit.middle) > limit.highest
                continue
            if name not in self.words or (text := text_of(value)) is None:
                continue
            for kind, measured in (
                ("words", self.words[name].new_share(words_of(text))),
                ("length", length_of(text)),
            ):
                limit = self.limits[f"{name} {kind}"]
                found[f"{name} {kind}"] = abs(measured - limit.middle) > limit.highest
        return found

    def to_json(self) -> dict[str, Any]:
        """Return the profile as JSON: limits and hashes of words, and no inputs."""
        return {
            "format": _FORMAT,
            "limits": {name: limit.to_json() for name, limit in self.limits.items()},
            "words": {name: words.to_json() for name, words in self.words.items()},
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> InputProfile:
        """Read what `to_json` wrote."""
        if value["format"] != _FORMAT:
            raise ValueError(f"format {value['format']}")
        return InputProfile(
            {name: Limit.from_json(limit) for name, limit in value["limits"].items()},
            {name: Words.from_json(words) for name, words in value["words"].items()},
        )

    def write(self, folder: Path) -> None:
        """Write it into a run folder."""
        write_file(folder / INPUTS, record_json(self.to_json()) + b"\n")

    @staticmethod
    def read(folder: Path) -> InputProfile | None:
        """Read it from a run folder; None if an older version of lmpipe made the folder.

        Raises:
            ArtifactError: if the file is damaged.
        """
        file = folder / INPUTS
        if not file.is_file():
            return None
        try:
            data = file.read_bytes()
        except OSError as error:
            raise ArtifactError(f"{file} cannot be read: {error.strerror}") from error
        try:
            return InputProfile.from_json(load_json(data))
        except (ValueError, ArithmeticError, LookupError, TypeError, AttributeError) as error:
            raise ArtifactError(
                f"{file} is damaged, or of another version of lmpipe: {error}; without the file, "
                "served inputs are not compared with the data of the compile"
            ) from error


def _add_limit(
    limits: dict[str, Limit], name: str, kind: str, middle: float, scores: Sequence[float]
) -> None:
    above = max(1, math.floor(_SHARE * (len(scores) + 1)))
    highest = sorted(scores, reverse=True)[above - 1]
    limits[f"{name} {kind}"] = Limit(kind, middle, highest, above, len(scores))
