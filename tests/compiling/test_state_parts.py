"""The parts of a learned state, and the states that an ablation compares for each of them."""

from __future__ import annotations

import random
from typing import Any

import pytest
from helpers.world import NameColour, TwoSteps

import lmpipe
from lmpipe.compiling.state_parts import StatePart, most_states, parts_of
from lmpipe.state.program_state import (
    AdapterRef,
    Demo,
    PredictorState,
    ProgramState,
    Retrieval,
    ensemble_state,
    member_states,
)

ONE, TWO = lmpipe.Predict(NameColour), TwoSteps()

POOL = tuple(
    Demo(inputs={"thing": f"thing {n}"}, outputs={"colour": ("red", "green", "blue")[n % 3]})
    for n in range(12)
)
# A learned value of each field, and the part that it belongs to.
LEARNED: dict[str, tuple[Any, str]] = {
    "instruction": ("Look at the thing well.", "instruction"),
    "descriptions": ({"colour": "one of the rainbow"}, "descriptions of fields"),
    "lessons": ((lmpipe.Lesson(text="Look at it."),), "lessons"),
    "demos": (POOL[:2], "demonstrations"),
    "layout": ("json", "layout"),
    "constrained": (True, "constrained outputs"),
    "lm": ("ft:student", "weights"),
    "decoding": ({"temperature": 0.5}, "decoding settings"),
    "retrieval": (Retrieval(pool=POOL, k=12), "demonstrations"),
    "adapter": (AdapterRef.of("name", "a" * 64, "base"), "weights"),
}
EVERYTHING = {field: value for field, (value, _) in LEARNED.items()}


def parts(state: ProgramState, program: lmpipe.Module = ONE) -> dict[str, StatePart]:
    found = parts_of(state, program.state(), program.predictors(), random.Random)
    return {part.name: part for part in found}


def test_every_field_that_is_learned_belongs_to_a_part() -> None:
    assert set(LEARNED) == set(PredictorState.model_fields) - {"schema_hash"}


@pytest.mark.parametrize("field", list(LEARNED))
def test_a_field_that_differs_makes_its_part(field: str) -> None:
    value, name = LEARNED[field]
    learned = ONE.state().map(**{field: value})
    (part,) = parts(learned).values()
    assert part.name == name
    assert (part.without, part.alone) == (ONE.state(), learned)


def test_a_state_as_declared_has_no_parts() -> None:
    assert parts(ONE.state()) == {}


def test_only_its_own_fields_differ_without_a_part_and_with_it_alone() -> None:
    learned = ONE.state().map(layout="json", constrained=True, demos=POOL[:3])
    found = parts(learned)
    assert list(found) == ["demonstrations", "layout", "constrained outputs"]
    assert found["layout"].without == learned.map(layout="chat")
    assert found["layout"].alone == ONE.state().map(layout="json")


def test_a_part_is_that_of_all_predictors_together() -> None:
    declared = TWO.state()
    learned = declared.replace(name=declared["name"].replace(demos=POOL[:3])).map(layout="json")
    found = parts(learned, TWO)
    assert found["layout"].learned == "json"
    assert found["layout"].alone == declared.map(layout="json")
    assert found["demonstrations"].learned == "name: 3 fixed"
    assert found["demonstrations"].without == declared.map(layout="json")


def test_the_nearest_demonstrations_are_compared_with_as_many_fixed_ones_of_their_pool() -> None:
    learned = ONE.state().map(retrieval=Retrieval(pool=POOL, k=3))
    found = parts(learned)
    assert found["demonstrations"].learned == "3 nearest of 12"
    fixed = found["choice of the nearest"].without["self"]
    assert (len(fixed.demos), fixed.retrieval) == (3, None)
    assert set(fixed.demos) <= set(POOL)
    assert {demo.outputs["colour"] for demo in fixed.demos} == {"red", "green", "blue"}
    assert found["choice of the nearest"].alone is None


def test_nothing_is_chosen_from_a_pool_that_is_shown_whole() -> None:
    learned = ONE.state().map(retrieval=Retrieval(pool=POOL, k=12))
    assert list(parts(learned)) == ["demonstrations"]


def test_demonstrations_that_the_program_retrieves_itself_are_not_learned() -> None:
    program = ONE.bind(ONE.state().map(retrieval=Retrieval(pool=POOL, k=3)))
    assert list(parts(program.state().map(layout="json"), program)) == ["layout"]


def test_a_vote_is_compared_with_its_best_member() -> None:
    first, second = (ONE.state().map(layout="json", demos=POOL[:n]) for n in (3, 2))
    found = parts(ensemble_state([first, second]))
    assert list(found) == ["vote", "demonstrations", "layout"]
    assert found["vote"].learned == "2 members, majority"
    assert found["vote"].without == first
    chat = [item.map(layout="chat") for item in (first, second)]
    assert list(member_states(found["layout"].without)) == chat
    assert [part.alone for part in found.values()] == [None, None, None]


def test_a_member_that_learned_something_else_is_named() -> None:
    voting = ensemble_state([ONE.state().map(demos=POOL[:3]), ONE.state()])
    assert parts(voting)["demonstrations"].learned == "members[0].self: 3 fixed"


@pytest.mark.parametrize("members", [1, 2])
def test_no_state_has_more_parts_than_the_plan_counts(members: int) -> None:
    learned = ONE.state().map(**{**EVERYTHING, "retrieval": Retrieval(pool=POOL, k=3)})
    if members > 1:
        learned = ensemble_state([learned] * members)
    found = parts(learned).values()
    # The declared state is needed to compare parts alone with it.
    needed = sum(1 + (part.alone is not None) for part in found) + 1
    assert needed <= most_states(trains=True, members=members)
    if members == 1:
        assert needed == most_states(trains=True, members=1)


def test_without_a_training_there_is_no_part_of_weights() -> None:
    with_weights = most_states(trains=True, members=1)
    assert most_states(trains=False, members=1) == with_weights - 2
