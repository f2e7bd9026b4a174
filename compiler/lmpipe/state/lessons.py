"""`Lesson`: a rule or a fact that a program learned from its runs, with counts of its effect."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, TypeAlias

import pydantic
from pydantic import BaseModel, ConfigDict, Field

# A lesson is dropped if it did harm at least so many times more than it helped.
_HARM_TO_DROP = 2

_HEADING = "Lessons from earlier runs:"

_WORD = re.compile(r"\w+|[^\w\s]")
# They make no difference to what a lesson says.
_FILLER = frozenset([*".,;:!?\"'`*“”‘’", "a", "an", "the", "always", "please"])  # noqa: RUF001

# The last is that of "don't".
_NEGATIONS = frozenset(
    ["no", "not", "never", "none", "cannot", "without", "except", "unless", "only", "t"]
)

# What two lessons that say the same have in common.
LessonKey: TypeAlias = "tuple[str, ...]"


class Lesson(BaseModel, frozen=True):
    """A lesson of a predictor, which stands after its instruction in prompts.

    Args:
        text: what it says, in words that can be understood without the run that taught it.
        helpful: how often it made a run better, as far as that is known.
        harmful: how often it made a run worse.
    """

    model_config = ConfigDict(extra="forbid")

    text: Annotated[str, pydantic.StringConstraints(strip_whitespace=True, min_length=1)]
    helpful: Annotated[int, Field(ge=0, strict=True)] = 0
    harmful: Annotated[int, Field(ge=0, strict=True)] = 0

    @property
    def key(self) -> LessonKey:
        """The words that decide whether another lesson says the same."""
        return lesson_key(self.text)

    @property
    def worth(self) -> int:
        """How much more often it helped than it did harm."""
        return self.helpful - self.harmful

    def counted(self, *, helpful: int = 0, harmful: int = 0) -> Lesson:
        """Copy it with higher counts."""
        return Lesson(
            text=self.text, helpful=self.helpful + helpful, harmful=self.harmful + harmful
        )


@dataclass(frozen=True, slots=True)
class LessonDelta:
    """What one run teaches about the lessons of a predictor.

    Args:
        added: texts of lessons that it adds, unless they are there already.
        helpful: texts of lessons that helped.
        harmful: texts of lessons that did harm.
    """

    added: tuple[str, ...] = ()
    helpful: tuple[str, ...] = ()
    harmful: tuple[str, ...] = ()


def lesson_key(text: str) -> LessonKey:
    """Return what texts that say the same have in common: their words in order, without filler.

    Texts that differ in a number, a negation, a sign or the order of words say different things.
    """
    words = _WORD.findall(text.casefold())
    return tuple(word for word in words if word not in _FILLER) or tuple(words)


def may_say_the_same(one: str, other: str) -> bool:
    """Whether texts of a similar meaning have the same numbers, signs and negations.

    A measure of similarity hardly sees these, and they turn what a lesson says.
    """
    return _telling_words(one) == _telling_words(other)


def _telling_words(text: str) -> list[str]:
    words = _WORD.findall(text.casefold())
    return sorted(
        word for word in words if word not in _FILLER and (not word.isalpha() or word in _NEGATIONS)
    )


def merge_deltas(
    lessons: Sequence[Lesson],
    deltas: Iterable[LessonDelta],
    *,
    same_as: Mapping[str, str] = MappingProxyType({}),
) -> tuple[Lesson, ...]:
    """Merge what runs taught into the lessons of a predictor.

    No lesson is lost or rewritten: new ones come last, and one that is there already is not added
    again. The counts do not depend on the order of the deltas.

    Args:
        same_as: texts that say the same as an earlier lesson in other words, with that lesson's
            text.
    """
    merged: dict[LessonKey, Lesson] = {}
    deltas = tuple(deltas)

    def key(text: str) -> LessonKey:
        return lesson_key(same_as.get(text, text))

    for lesson in lessons:
        known, counts = merged.get(key(lesson.text)), lesson.model_dump(exclude={"text"})
        merged[key(lesson.text)] = known.counted(**counts) if known else lesson
    for delta in deltas:
        for text in filter(str.strip, delta.added):
            merged.setdefault(key(text), Lesson(text=text))
    for delta in deltas:
        for found in {key(text) for text in delta.helpful} & merged.keys():
            merged[found] = merged[found].counted(helpful=1)
        for found in {key(text) for text in delta.harmful} & merged.keys():
            merged[found] = merged[found].counted(harmful=1)
    return tuple(merged.values())


def prune(lessons: Sequence[Lesson], most: int | None = None) -> tuple[Lesson, ...]:
    """Drop lessons that do more harm than good, and the least useful ones above `most`.

    Of lessons that are worth the same, the oldest are dropped.
    """
    kept = [lesson for lesson in lessons if lesson.worth > -_HARM_TO_DROP]
    if most is not None and len(kept) > most:
        ranked = sorted(range(len(kept)), key=lambda place: (kept[place].worth, place))
        dropped = frozenset(ranked[: len(kept) - most])
        kept = [lesson for place, lesson in enumerate(kept) if place not in dropped]
    return tuple(kept)


def texts_of(lessons: Iterable[Lesson]) -> tuple[str, ...]:
    """List what lessons say; a prompt shows nothing else of them."""
    return tuple(lesson.text for lesson in lessons)


def with_lessons(instruction: str, lessons: Sequence[Lesson]) -> str:
    """Write an instruction with the lessons after it, a line each."""
    if not lessons:
        return instruction
    lines = (f"- {text.replace(chr(10), f'{chr(10)}  ')}" for text in texts_of(lessons))
    return "\n".join([*([instruction, ""] if instruction else []), _HEADING, *lines])
