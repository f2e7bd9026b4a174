"""Metrics for typed fields."""

from __future__ import annotations

import datetime
import enum
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, computed_field
from pydantic.alias_generators import to_camel

from lmpipe.data.example import Example
from lmpipe.errors import MetricError
from lmpipe.metrics import Score, exact_match, field_accuracy, set_f1


class Team(enum.Enum):
    BILLING = "billing"


class Item(BaseModel):
    name: str
    amount: float | None = None


class Order(BaseModel):
    number: int
    day: datetime.date | None = None
    items: list[Item] = []


def score(metric: Callable[..., Score], gold: Any, predicted: Any) -> Score:
    return metric(Example(x=gold), SimpleNamespace(x=predicted), None)


@pytest.mark.parametrize(
    ("gold", "predicted", "value"),
    [
        ("billing", "billing", 1),
        ("billing", "Billing", 0),
        ("billing", Team.BILLING, 1),
        (Team.BILLING, "billing", 1),
        ("2024-02-29", datetime.date(2024, 2, 29), 1),
        (5, 5.0, 1),
        (1, True, 0),
        (True, True, 1),
        ("5", 5, 1),
        ("1,000.5", 1000.5, 1),
        (str(2**60), 2**60 + 1, 0),
        ("True", True, 1),
        ("yes", True, 0),
        ("1", True, 0),
        (5, "5", 0),
        (None, None, 1),
        (None, "", 0),
        (["a", 1], ("a", 1), 1),
        (["a", "b"], ["b", "a"], 0),
        ([1], [True], 0),
        ({"number": 1, "day": None, "items": []}, Order(number=1), 1),
        ({"number": 1}, Order(number=1), 1),
        ({"number": 1}, Order(number=1, items=[Item(name="x")]), 0),
    ],
)
def test_exact_match(gold: Any, predicted: Any, value: float) -> None:
    assert score(exact_match("x"), gold, predicted).value == value


@pytest.mark.parametrize(
    ("gold", "predicted", "value"),
    [
        (["a b", "c"], ["C", "A  B"], 1),
        (["x", "y"], ["x"], 2 / 3),
        (["x", "x"], ["x"], 2 / 3),
        (["x"], ["y"], 0),
        ([], [], 1),
        ([], None, 1),
        (["x"], [], 0),
        ("x, y; z", ["z", "y", "x"], 1),
        ([5], [5.0], 1),
        ([5], ["5"], 1),
        ([3.5], ["35"], 0),
        ({"x", "y"}, ["y", "x"], 1),
        ([{"a": 1, "b": 2}], [{"b": 2, "a": 1}], 1),
        (7, [7], 1),
    ],
)
def test_set_f1(gold: Any, predicted: Any, value: float) -> None:
    assert score(set_f1("x"), gold, predicted).value == pytest.approx(value)


def test_set_f1_names_missing_and_surplus_items() -> None:
    feedback = score(set_f1("x"), ["p", "q"], ["q", "r"]).feedback
    assert feedback == "x: missing ['p'], surplus ['r'] (F1 0.50)"


@pytest.mark.parametrize(
    ("gold", "predicted", "value"),
    [
        ("The Cat", "cat", 1),
        (0.1 + 0.2, 0.3, 1),
        (100.0, 100.00001, 1),
        (100.0, 100.1, 0),
        ("5", 5, 1),
        (5, "5", 1),
        (1, True, 0),
        (None, None, 1),
        (None, "x", 0),
        ([], [], 1),
        ({}, None, 1),
        (["a", "b"], ["a"], 1 / 2),
        (["a", "b"], ["b", "a"], 0),
        ({"number": 1, "day": "2024-02-29"}, Order(number=1, day=datetime.date(2024, 2, 29)), 1),
        ({"number": 1, "day": None}, Order(number=2), 2 / 3),
        ({"number": 1, "items": [{"name": "A", "amount": 2}]}, Order(number=1), 2 / 4),
        ({"a": 1, "b": 2}, None, 0),
        ({"a": 1}, "text", 0),
        ({"a": 1}, {"a": 1, "made_up": 2}, 1 / 2),
    ],
)
def test_field_accuracy(gold: Any, predicted: Any, value: float) -> None:
    assert score(field_accuracy("x"), gold, predicted).value == pytest.approx(value)


def test_field_accuracy_counts_the_leaves_of_all_fields() -> None:
    row = Example(order={"number": 1, "items": [{"name": "A"}]}, product="Lamp")
    prediction = SimpleNamespace(order=Order(number=2, items=[Item(name="a.")]), product="the lamp")
    parts = field_accuracy("order", "product")(row, prediction).parts
    assert parts == {
        "order.number": 0.0,
        "order.items[0].name": 1.0,
        "order.items[0].amount": 1.0,
        "order.day": 1.0,
        "product": 1.0,
    }


def test_field_accuracy_names_the_wrong_leaves() -> None:
    feedback = score(field_accuracy("x"), {"a": 1, "b": 2}, {"a": 1, "b": 3}).feedback
    assert feedback == "1 of 2 fields are correct; x.b: expected 2, got 3"


def test_the_gold_field_of_field_accuracy_may_have_another_name() -> None:
    metric = field_accuracy("x", gold="y")
    assert metric(Example(y=1), SimpleNamespace(x=1)).value == 1


def test_field_accuracy_refuses_a_prediction_without_the_field() -> None:
    with pytest.raises(MetricError, match=r"field_accuracy\('x', 'y'\) reads.*'y'"):
        field_accuracy("x", "y")(Example(x=1, y=2), SimpleNamespace(x=1))


def test_the_name_of_field_accuracy_is_the_call_that_made_it() -> None:
    assert field_accuracy("x", "y").__name__ == "field_accuracy('x', 'y')"


@pytest.mark.parametrize(
    ("gold", "predicted", "value"),
    [
        (["Paris", "Lutetia"], "Paris", 1),
        (["Paris", "Lutetia"], "Lutetia", 1),
        (["Paris", "Lutetia"], "Lyon", 0),
        (["billing", "sales"], Team.BILLING, 1),
        (["1", "2"], 2, 1),
        ([{"number": 1}, {"number": 2}], Order(number=2), 1),
        ([], "", 0),
        ([["a"], ["b"]], ["b"], 0),
    ],
)
def test_exact_match_takes_any_of_several_gold_values(
    gold: Any, predicted: Any, value: float
) -> None:
    assert score(exact_match("x"), gold, predicted).value == value


class Person(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)

    full_name: str
    home_town: str = Field(validation_alias=AliasChoices("town", "city"))
    pin_code: int = Field(default=0, exclude=True)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def initials(self) -> str:
        return "".join(word[0] for word in self.full_name.split())


def person(name: str) -> Person:
    return Person.model_validate({"fullName": name, "town": "Rome"})


@pytest.mark.parametrize("metric", [exact_match, field_accuracy, set_f1])
@pytest.mark.parametrize("keys", [("fullName", "city"), ("full_name", "home_town")])
def test_a_right_model_has_a_full_score_whether_gold_has_aliases_or_names(
    metric: Callable[..., Any], keys: tuple[str, str]
) -> None:
    gold = dict(zip(keys, ("Ada B", "Rome"), strict=True))
    for right, wrong in [(gold, person("Eve")), ([gold, gold], [person("Eve"), person("Ada B")])]:
        same = [person("Ada B")] * 2 if isinstance(right, list) else person("Ada B")
        assert score(metric("x"), right, same).value == 1
        assert score(metric("x"), right, wrong).value < 1


@pytest.mark.parametrize("metric", [exact_match, field_accuracy, set_f1])
def test_a_field_that_a_model_excludes_from_its_dumps_is_compared(
    metric: Callable[..., Any],
) -> None:
    gold = {"fullName": "Ada B", "town": "Rome", "pinCode": 7}
    right, wrong = Person.model_validate(gold), Person.model_validate({**gold, "pinCode": 8})
    for label in (gold, right):
        assert score(metric("x"), label, right).value == 1
        assert score(metric("x"), label, wrong).value < 1


def test_a_gold_list_equals_a_predicted_set_in_any_order() -> None:
    assert score(exact_match("x"), ["b", "a"], {"a", "b"}).value == 1
    assert score(exact_match("x"), ["b", "c"], {"a", "b"}).value == 0


def test_a_gold_text_may_be_the_name_of_an_enums_member() -> None:
    assert score(exact_match("x"), "BILLING", Team.BILLING).value == 1
    assert score(exact_match("x"), ["BILLING"], [Team.BILLING]).value == 1


@pytest.mark.parametrize("metric", [exact_match, field_accuracy])
def test_integers_beyond_all_floats_are_compared_exactly(metric: Callable[..., Any]) -> None:
    huge = 10**400
    assert score(metric("x"), huge, huge).value == 1
    assert score(metric("x"), str(huge), huge).value == 1
    assert score(metric("x"), huge, huge + 1).value == 0
    assert score(metric("x"), huge, 0.5).value == 0
