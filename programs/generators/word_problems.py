"""Math word problems with proven answers: `python -m programs.generators.word_problems`.

A problem is a story about an amount that changes sentence by sentence. The sentences come from
templates, so that `read_problem` can compute the answer from the text alone.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from programs.generators.word_stories import OPENINGS, STORIES, Change, Operation, Story
from programs.json_lines import DATA, Rows, write_files

SEED = 20
SIZES = {"train": 120, "val": 80, "test": 100}
STEPS = (2, 3, 4, 5)
_LARGEST = 4000

_NAMES = (
    "Amira", "Bo", "Carla", "Dmitri", "Elif", "Femi", "Greta", "Hugo", "Ines", "Jonas", "Kavya",
    "Lin", "Mateo", "Nadia", "Owen", "Priya", "Quentin", "Rosa", "Sven", "Tara",
)  # fmt: skip
_SENTENCE_END = re.compile(r"(?<=[.?]) ")


class _UnsuitableError(Exception):
    """The numbers that were drawn make a problem that is too large, or not whole."""


@dataclass
class _Working:
    """The calculations of a problem, and the amount that they have led to."""

    amount: int
    lines: list[str]

    def apply(self, operation: Operation, number: int) -> None:
        """Change the amount and write down how."""
        if operation == "remove percent":
            removed = _exact(self.amount * number, 100)
            self.lines.append(f"{self.amount} * {number} / 100 = {removed}")
            self._then("-", removed, self.amount - removed)
        elif operation == "/":
            self._then("/", number, _exact(self.amount, number))
        else:
            change = {"+": self.amount + number, "-": self.amount - number}
            self._then(operation, number, change.get(operation, self.amount * number))

    def _then(self, sign: str, number: int, amount: int) -> None:
        if not 1 < amount <= _LARGEST:
            raise _UnsuitableError
        self.lines.append(f"{self.amount} {sign} {number} = {amount}")
        self.amount = amount


def _exact(number: int, divisor: int) -> int:
    if number % divisor:
        raise _UnsuitableError
    return number // divisor


def write_problem(rng: random.Random, steps: int) -> dict[str, Any]:
    """Write a problem whose answer takes this many calculations."""
    while True:
        try:
            return _try_problem(rng, steps)
        except _UnsuitableError:
            continue


def _try_problem(rng: random.Random, steps: int) -> dict[str, Any]:
    story = rng.choice(STORIES)
    opening = rng.choice(OPENINGS[story.name])
    first, second = rng.randint(*opening.first), rng.randint(*opening.second)
    working = _Working(first, [])
    working.apply(opening.operation, second)
    sentences = [opening.text.replace("{a}", str(first)).replace("{b}", str(second))]
    ask = story.ask
    for change in _changes(rng, story, steps - 1):
        number = rng.randint(*change.range)
        working.apply(change.operation, number)
        sentences.append(change.text.replace("{n}", str(number)))
        ask = change.ask or ask
    if rng.random() < 0.3:  # a number that is not needed
        idle = rng.choice(story.idle).replace("{n}", str(rng.randint(3, 60)))
        sentences.insert(rng.randint(1, len(sentences)), idle)
    text = " ".join([*sentences, ask])
    for place, name in zip(("{P}", "{Q}"), rng.sample(_NAMES, 2), strict=True):
        text = text.replace(place, name)
    return {
        "question": text,
        "answer": working.amount,
        "reasoning": " ".join(f"{line}." for line in working.lines),
        "steps": steps,
    }


def _changes(rng: random.Random, story: Story, steps: int) -> list[Change]:
    """Draw different changes with this many calculations; one that ends the story comes last."""
    drawn: list[Change] = []
    closing = [one for one in story.closings if _steps(one) <= steps]
    if closing and rng.random() < 0.6:
        drawn = [rng.choice(closing)]
    for change in rng.sample(story.changes, len(story.changes)):
        if sum(map(_steps, [*drawn, change])) <= steps:
            drawn.insert(0, change)
    if sum(map(_steps, drawn)) != steps:
        raise _UnsuitableError
    return drawn


def _steps(change: Change) -> int:
    return 2 if change.operation == "remove percent" else 1


def read_problem(text: str) -> int:
    """Compute the answer of a problem from its text alone.

    Raises:
        ValueError: if a sentence is not known.
    """
    opening, *sentences, _ = _SENTENCE_END.split(text)
    [(operation, numbers)] = _read(opening, _OPENING_READERS)
    working = _Working(numbers[0], [])
    working.apply(operation, numbers[1])
    for sentence in sentences:
        for operation, numbers in _read(sentence, _CHANGE_READERS):
            working.apply(operation, numbers[0])
    return working.amount


_Reader = tuple[re.Pattern[str], Operation | None]


def _read(sentence: str, readers: Sequence[_Reader]) -> list[tuple[Operation, tuple[int, ...]]]:
    """The operation that a sentence tells of, with its numbers; none if it tells of none."""
    found: set[tuple[Operation | None, tuple[int, ...]]] = {
        (operation, tuple(map(int, match.groups())))
        for pattern, operation in readers
        if (match := pattern.fullmatch(sentence))
    }
    if len(found) != 1:
        raise ValueError(f"the sentence {sentence!r} can be read in {len(found)} ways")
    return [(operation, numbers) for operation, numbers in found if operation is not None]


def _reader(template: str, operation: Operation | None) -> _Reader:
    pattern = re.escape(template).replace(r"\{", "{").replace(r"\}", "}")
    pattern = re.sub(r"\{[PQ]\}", "[A-Z][a-z]+", pattern)
    return re.compile(re.sub(r"\{[abn]\}", r"(\\d+)", pattern)), operation


_OPENING_READERS = [
    _reader(one.text, one.operation) for openings in OPENINGS.values() for one in openings
]
_CHANGE_READERS = [
    *(_reader(one.text, one.operation) for s in STORIES for one in (*s.changes, *s.closings)),
    *(_reader(text, None) for story in STORIES for text in story.idle),
]


def files() -> dict[str, Rows]:
    """Make the rows of every file by its name; no question is in two of them."""
    rng = random.Random(SEED)
    rows: dict[str, dict[str, Any]] = {}
    while len(rows) < sum(SIZES.values()):
        row = write_problem(rng, STEPS[len(rows) % len(STEPS)])
        rows[row["question"]] = row
    waiting = iter(rng.sample(list(rows.values()), len(rows)))
    return {
        f"word_problems_{split}.jsonl": [next(waiting) for _ in range(size)]
        for split, size in SIZES.items()
    }


if __name__ == "__main__":
    write_files(DATA, files())
