"""Passages: a short text about each thing of a world, and the facts read back from it."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from programs.worlds.facts import VALUES, Fact, Kind, World
from programs.worlds.relations import RELATIONS

# Stands for the title while a sentence is read.
_TITLE = "\N{SECTION SIGN}"
_SENTENCE_END = re.compile(r"(?<=\.) ")
_PRONOUNS = ("He", "She", "It")


@dataclass(frozen=True)
class Passage:
    """A text about the thing that is its title.

    Args:
        id: its number among the passages, such as `p007`, which says nothing about its content.
        title: the name of the thing.
        text: a sentence for each fact about it.
    """

    id: str
    title: str
    text: str

    def to_json(self) -> dict[str, str]:
        return {"id": self.id, "title": self.title, "text": self.text}


def write_passages(world: World, seed: int) -> list[Passage]:
    """Write a passage about each thing, in random order."""
    rng = random.Random(seed)
    titles = rng.sample([thing.name for thing in world.things], len(world.things))
    return [
        Passage(f"p{number:03}", title, _text(world, title, rng))
        for number, title in enumerate(titles)
    ]


def _text(world: World, title: str, rng: random.Random) -> str:
    first, *others = world.about[title]
    pronoun = world.by_name[title].pronoun
    written = [rng.choice(RELATIONS[first.relation].sentences)]
    for fact in rng.sample(others, len(others)):
        sentence = rng.choice(RELATIONS[fact.relation].sentences)
        if rng.random() < 0.6:
            sentence = re.sub(r"^(The )?\{s\}", pronoun, sentence)
        written.append(sentence.replace("{o}", fact.object))
    return " ".join(written).replace("{o}", first.object).replace("{s}", title)


def read_passage(passage: Passage) -> list[Fact]:
    """Read the facts that a passage states, from its title and text alone.

    Raises:
        ValueError: if a sentence can be read in no way, or in several.
    """
    return [read_sentence(passage.title, sentence) for sentence in sentences(passage.text)]


def sentences(text: str) -> list[str]:
    """Split the text of a passage into its sentences."""
    return _SENTENCE_END.split(text)


def read_sentence(title: str, sentence: str) -> Fact:
    """Read the fact that a sentence states about the thing that is the title of its passage.

    Raises:
        ValueError: if it can be read in no way, or in several.
    """
    marked = sentence.replace(title, _TITLE)
    found = [
        Fact(title, name, match["o"])
        for name, pattern in _READERS
        if (match := pattern.fullmatch(marked))
    ]
    if len(found) != 1:
        raise ValueError(f"{title}: the sentence {sentence!r} says {found or 'nothing known'}")
    return found[0]


def _reader(sentence: str, found: Kind) -> re.Pattern[str]:
    """The pattern of a sentence about the title that is already marked in it."""
    pattern = re.escape(sentence).replace(r"\{", "{").replace(r"\}", "}").replace(r"\ ", " ")
    pattern = re.sub(r"^(The )?\{s\}", lambda m: f"(?:{m[0]}|{'|'.join(_PRONOUNS)})", pattern)
    return re.compile(pattern.replace("{s}", _TITLE).replace("{o}", f"(?P<o>{_shape(found)})"))


def _shape(kind: Kind) -> str:
    if kind == "year":
        return r"\d{4}"
    if kind == "number":
        return r"\d+"
    return "[^.]+" if kind in VALUES else "[A-Z][^.]*"


_READERS = [
    (relation.name, _reader(sentence, relation.object))
    for relation in RELATIONS.values()
    for sentence in relation.sentences
]
