"""`World`: things and the facts about them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

Kind = Literal[
    "country", "town", "river", "person", "university", "company", "novel", "opera", "painting",
    "building", "award", "year", "number", "word",
]  # fmt: skip

# Facts about these values are facts about texts and numbers, not about other things of the world.
VALUES: tuple[Kind, ...] = ("year", "number", "word")


@dataclass(frozen=True)
class Thing:
    """A thing of the world, which has a passage of its own.

    Args:
        name: its name, which no other thing has.
        kind: what it is.
        pronoun: how the sentences after the first one call it, such as `She` or `The company`.
    """

    name: str
    kind: Kind
    pronoun: str


@dataclass(frozen=True, order=True)
class Fact:
    """A relation between a thing and another thing or a value, each known by its name."""

    subject: str
    relation: str
    object: str


@dataclass(frozen=True)
class World:
    """All things and facts, in the order in which they were made."""

    things: tuple[Thing, ...]
    facts: tuple[Fact, ...]

    @cached_property
    def by_name(self) -> dict[str, Thing]:
        """Each thing by its name."""
        return {thing.name: thing for thing in self.things}

    @cached_property
    def about(self) -> dict[str, list[Fact]]:
        """The facts about each thing by its name."""
        found: dict[str, list[Fact]] = {thing.name: [] for thing in self.things}
        for fact in self.facts:
            found[fact.subject].append(fact)
        return found


class FactIndex:
    """Finds the objects and the subjects of facts."""

    def __init__(self, facts: Iterable[Fact]) -> None:
        self._objects: dict[tuple[str, str], set[str]] = defaultdict(set)
        self._subjects: dict[tuple[str, str], set[str]] = defaultdict(set)
        for fact in facts:
            self._objects[fact.subject, fact.relation].add(fact.object)
            self._subjects[fact.object, fact.relation].add(fact.subject)

    def objects(self, subject: str, relation: str) -> set[str]:
        """Everything that the subject has this relation to."""
        return set(self._objects.get((subject, relation), ()))

    def subjects(self, found: str, relation: str) -> set[str]:
        """Everything that has this relation to the object."""
        return set(self._subjects.get((found, relation), ()))
