"""The texts that GEPA changes, in states."""

from __future__ import annotations

from typing import Any

import lmpipe
from lmpipe.optimize.gepa_components import Component, Components


class Route(lmpipe.Signature):
    """Route the ticket."""

    ticket: str = lmpipe.Input(desc="what the customer wrote")
    team: str = lmpipe.Output(desc="who answers")


INSTRUCTION, TICKET, TEAM = (
    Component("self"),
    Component("self", "ticket"),
    Component("self", "team"),
)


def components(program: Any, *, fields: bool = True) -> Components:
    return Components.of(program.predictors(), program.state(), fields=fields)


def test_without_fields_the_instructions_are_the_texts() -> None:
    assert components(lmpipe.Predict(Route), fields=False).every == (INSTRUCTION,)


def test_fields_that_the_layout_describes_are_texts_too() -> None:
    assert components(lmpipe.Predict(Route)).every == (INSTRUCTION, TICKET, TEAM)
    assert components(lmpipe.Predict(Route, layout="json")).every == (INSTRUCTION, TEAM)


def test_a_text_is_the_declared_one_until_a_state_has_another() -> None:
    program = lmpipe.Predict(Route)
    found, state = components(program), program.state()
    assert found.text(state, TEAM) == "who answers"
    changed = found.changed(state, {TEAM: "billing or shipping", INSTRUCTION: "Route it."})
    assert found.text(changed, TEAM) == "billing or shipping"
    assert found.text(changed, TICKET) == "what the customer wrote"
    assert found.differing(state, changed) == [INSTRUCTION, TEAM]


def test_a_description_that_is_the_declared_one_again_is_not_kept() -> None:
    program = lmpipe.Predict(Route)
    found, state = components(program), program.state()
    changed = found.changed(state, {TEAM: "billing or shipping"})
    assert found.changed(changed, {TEAM: "who answers"}) == state
