"""Signature classes that are made at run time: one for equal declarations, and pickled."""

from __future__ import annotations

import copy
import enum
import pickle
from typing import Any, Literal

import pytest

import lmpipe
from lmpipe.signatures.from_function import signature_from_function
from lmpipe.signatures.from_string import signature_from_string
from lmpipe.signatures.signature import Signature, spec_of, with_reasoning


class Route(lmpipe.Signature):
    """Route the ticket."""

    ticket: str = lmpipe.Input()
    team: Literal["billing", "shipping"] = lmpipe.Output()


def rate(review: str, scale: int = 5) -> Literal["good", "bad"]:
    """Rate the review."""
    raise NotImplementedError


def through_pickle(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


MADE = [
    signature_from_string("q: str, n: int | None -> a: list[Literal['x', 'y']], b: bool"),
    signature_from_string("q -> a", instruction="Answer.", name="Ask"),
    signature_from_function(rate),
    Route,
    with_reasoning(Route),
    with_reasoning(signature_from_string("q -> a")),
]


@pytest.mark.parametrize("signature", MADE)
def test_a_signature_class_survives_pickling(signature: type[Signature]) -> None:
    again = through_pickle(signature)
    assert again is signature
    assert spec_of(again).schema_hash == spec_of(signature).schema_hash


def test_results_of_a_signature_string_can_be_pickled_and_copied() -> None:
    result = signature_from_string("q -> a: int").model_validate({"q": "x", "a": 3})
    for again in (through_pickle(result), copy.deepcopy(result), copy.copy(result)):
        assert again == result
        assert type(again) is type(result)


def test_results_with_reasoning_can_be_pickled_and_copied() -> None:
    values = {"ticket": "x", "team": "billing", "reasoning": "r"}
    result = with_reasoning(Route).model_validate(values)
    for again in (through_pickle(result), copy.deepcopy(result)):
        assert again == result
        assert again.reasoning == "r"


def test_equal_declarations_are_one_class() -> None:
    assert signature_from_string("q -> a") is signature_from_string("q -> a")
    assert with_reasoning(Route) is with_reasoning(Route)


def test_declarations_that_differ_in_the_order_of_choices_are_two_classes() -> None:
    first, second = (signature_from_string(f"q -> a: Literal[{x}]") for x in ("1, 2", "2, 1"))
    assert first is not second
    assert spec_of(second).outputs[0].type_name == "Literal[2, 1]"


def test_declarations_that_differ_in_types_of_one_name_are_two_classes() -> None:
    kinds = [enum.Enum("Team", names, type=str) for names in ("A", "B")]
    made = [signature_from_string("q -> a: list[Team]", types={"Team": kind}) for kind in kinds]
    assert made[0] is not made[1]


def test_a_function_that_cannot_be_imported_says_so_when_it_is_pickled() -> None:
    def inner(q: str) -> int:
        raise NotImplementedError

    with pytest.raises(pickle.PicklingError, match=r"inner.*at the top level of a module"):
        pickle.dumps(signature_from_function(inner))
