"""All chains of a world that make a sound question."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from programs.worlds.facts import VALUES, FactIndex, World
from programs.worlds.relations import RELATIONS
from programs.worlds.solver import BACK, Chain

# From these, a question starts: their names are long enough to be searched for.
_STARTS = ("novel", "opera", "painting", "building", "award", "university", "company", "person")

# What a question for the key gives away by naming the others: an author is a novelist.
_GIVES_AWAY = {
    "trade": {"author", "composer", "painter", "architect", "founder", "rector"},
    "product": {"published_by"},
}


def chains_by_type(world: World, hops: int) -> dict[tuple[str, ...], list[Chain]]:
    """Find the chains with this many steps, by the kind of their start and their relations.

    Every step has exactly one result, no thing is met twice, and a question can ask for the end.
    """
    found: dict[tuple[str, ...], list[Chain]] = defaultdict(list)
    index = FactIndex(world.facts)
    for thing in world.things:
        if thing.kind in _STARTS:
            for steps in _continued(world, index, (thing.name,), (), hops):
                found[thing.kind, *steps].append(Chain(thing.name, steps))
    return dict(found)


def _continued(
    world: World, index: FactIndex, met: tuple[str, ...], steps: tuple[str, ...], hops: int
) -> Iterator[tuple[str, ...]]:
    last = len(steps) == hops - 1
    for fact in world.about[met[-1]]:
        relation = RELATIONS[fact.relation]
        if fact.object in met:
            continue
        named = {step.removeprefix(BACK) for step in steps}
        if last and relation.ask and not named & _GIVES_AWAY.get(fact.relation, set()):
            yield (*steps, fact.relation)
        elif not last and relation.noun and relation.object not in VALUES:
            yield from _continued(world, index, (*met, fact.object), (*steps, fact.relation), hops)
    if last or any(step.startswith(BACK) for step in steps):
        return
    for name, relation in RELATIONS.items():
        subjects = index.subjects(met[-1], name) if relation.inverse else set()
        if len(subjects) == 1 and not subjects & set(met):
            yield from _continued(world, index, (*met, *subjects), (*steps, BACK + name), hops)
