"""Phrases: how a question names things, and how it asks for the end of a chain."""

from __future__ import annotations

from collections.abc import Sequence

from programs.worlds.facts import Fact, Kind, World
from programs.worlds.relations import RELATIONS
from programs.worlds.solver import BACK, Chain

_CALLED: dict[Kind, str] = {
    "river": "the river {name}",
    "university": "the {name}",
    "company": "the company {name}",
    "novel": "the novel {name}",
    "opera": "the opera {name}",
    "painting": "the painting {name}",
    "building": "the {name}",
    "award": "the {name}",
}
_ONE: dict[Kind, str] = {
    "person": "that person",
    "river": "that river",
    "town": "that town",
    "country": "that country",
}


def called(world: World, name: str) -> str:
    """How a question names a thing that its reader does not know yet."""
    return _CALLED.get(world.by_name[name].kind, "{name}").format(name=name)


def called_again(world: World, name: str) -> str:
    """How a question names a thing that was the last answer."""
    return _ONE.get(world.by_name[name].kind, "it")


def named_by(world: World, start: str, steps: Sequence[str]) -> str:
    """Name the thing at the end of some steps without its own name."""
    phrase = called(world, start)
    for step in steps:
        relation = RELATIONS[step.removeprefix(BACK)]
        phrase = (relation.inverse if step.startswith(BACK) else relation.noun).format(x=phrase)
    return phrase


def question_of(world: World, chain: Chain) -> str:
    """Ask for the end of a chain."""
    *steps, last = chain.steps
    return RELATIONS[last].ask.format(x=named_by(world, chain.start, steps))


def event_of(world: World, chain: Chain) -> str:
    """Name the event of the year that a chain ends in."""
    *steps, last = chain.steps
    return RELATIONS[last].event.format(x=named_by(world, chain.start, steps))


def stated(fact: Fact) -> str:
    """State a fact in one sentence."""
    return RELATIONS[fact.relation].sentences[0].format(s=fact.subject, o=fact.object)
