"""Worlds do not contradict themselves."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from programs.worlds.build import build_world
from programs.worlds.facts import World
from programs.worlds.relations import RELATIONS

SEEDS = st.integers(0, 2**32)


@given(SEEDS)
@settings(max_examples=5)
def test_a_world_has_500_things_with_different_names(seed: int) -> None:
    assert len({thing.name for thing in build_world(seed).things}) == 500


@given(SEEDS)
@settings(max_examples=5)
def test_facts_connect_things_of_the_declared_kinds(seed: int) -> None:
    world = build_world(seed)
    kinds = {name: thing.kind for name, thing in world.by_name.items()}
    for fact in world.facts:
        relation = RELATIONS[fact.relation]
        if relation.name != "alike":
            assert kinds[fact.subject] == relation.subject
            assert kinds.get(fact.object, relation.object) == relation.object


@given(SEEDS)
@settings(max_examples=5)
def test_a_subject_has_one_object_by_each_relation(seed: int) -> None:
    keys = [(fact.subject, fact.relation) for fact in build_world(seed).facts]
    assert len(keys) == len(set(keys))


@given(SEEDS)
@settings(max_examples=5)
def test_people_act_while_they_live(seed: int) -> None:
    world = build_world(seed)
    for maker, year in _deeds(world):
        born, died = (year_of(world, maker, name) for name in ("born_year", "died_year"))
        assert born + 20 <= year <= died


@given(SEEDS)
@settings(max_examples=5)
def test_nothing_is_used_before_it_is_there(seed: int) -> None:
    world = build_world(seed)
    for fact in world.facts:
        if (used := _USES.get(fact.relation)) is not None:
            then, there = used
            assert year_of(world, fact.object, there) <= year_of(world, fact.subject, then) + (
                18 if fact.relation == "studied_at" else 0
            )


@given(SEEDS)
@settings(max_examples=5)
def test_teachers_are_older_than_their_students_and_of_their_profession(seed: int) -> None:
    world = build_world(seed)
    trades = {fact.subject: fact.object for fact in world.facts if fact.relation == "trade"}
    taught = [fact for fact in world.facts if fact.relation == "taught_by"]
    assert taught
    for fact in taught:
        assert year_of(world, fact.object, "born_year") < year_of(world, fact.subject, "born_year")
        assert trades[fact.object] == trades[fact.subject]


def test_the_same_seed_gives_the_same_world() -> None:
    assert build_world(1) == build_world(1) != build_world(2)


# The relation to a thing: the year of the subject, and the year since which the object is there.
_USES = {
    "published_by": ("published_year", "company_founded"),
    "premiere": ("premiere_year", "built_year"),
    "studied_at": ("born_year", "university_founded"),
}
_DEEDS = {
    "founder": "company_founded",
    "rector": "university_founded",
    "author": "published_year",
    "composer": "premiere_year",
    "painter": "painted_year",
    "architect": "built_year",
    "winner": "award_year",
}


def year_of(world: World, subject: str, relation: str) -> int:
    """The year of an event in the life of a thing."""
    [found] = [fact for fact in world.about[subject] if fact.relation == relation]
    return int(found.object)


def _deeds(world: World) -> list[tuple[str, int]]:
    """Who did something in which year."""
    return [
        (fact.object, year_of(world, fact.subject, _DEEDS[fact.relation]))
        for fact in world.facts
        if fact.relation in _DEEDS
    ]
