"""Shapes: how values of a type are written, derived from its JSON schema."""

from __future__ import annotations

import datetime
import decimal
import enum
import random
from typing import Annotated, Any, Literal

import pydantic
import pytest

from lmpipe.signatures.value_shape import Shape, shape_of, sort_sets


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Only(enum.Enum):
    ONE = "one"


class Rank(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Place(pydantic.BaseModel):
    city: str


class Name(pydantic.RootModel[str]):
    pass


def shape(annotation: Any) -> Shape:
    return shape_of(pydantic.TypeAdapter(annotation).json_schema(), annotation)


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (str, "text"),
        (datetime.datetime, "text"),
        (Name, "text"),
        (datetime.date, "date"),
        (int, "integer"),
        (float, "number"),
        (decimal.Decimal, "number"),
        (bool, "boolean"),
        (Literal["a", "b"], "choice"),
        (Colour, "choice"),
        (Only, "choice"),
        (Rank, "choice"),
        (Place, "json"),
        (list[str], "json"),
        (dict[str, int], "json"),
        (int | str, "json"),
        (Any, "json"),
    ],
)
def test_kind(annotation: Any, kind: str) -> None:
    assert shape(annotation).kind == kind
    assert not shape(annotation).optional


@pytest.mark.parametrize(
    "annotation",
    [str, datetime.date, int, decimal.Decimal, bool, Literal["a", "b"], Colour, Place, list[str]],
)
def test_an_optional_type_keeps_its_kind(annotation: Any) -> None:
    assert shape(annotation | None).kind == shape(annotation).kind
    assert shape(annotation | None).optional
    assert shape(annotation | None).container == shape(annotation).container


def test_none_inside_a_literal_makes_it_optional() -> None:
    assert shape(Literal["a", None]) == Shape("choice", optional=True, choices=("a",))


def test_choices_are_the_values_of_an_enum() -> None:
    assert shape(Colour).choices == ("red", "blue")
    assert shape(Rank).choices == (1, 2)
    assert shape(Only).choices == ("one",)


def test_a_default_does_not_hide_the_type() -> None:
    annotated = Annotated[Colour, pydantic.Field(default=Colour.RED)]
    assert shape(annotated).kind == "choice"


def test_the_maximum_length_of_a_text() -> None:
    assert shape(Annotated[str, pydantic.Field(max_length=7)]).max_length == 7
    assert shape(Annotated[str | None, pydantic.Field(max_length=7)]).optional


def test_the_container_of_a_json_value() -> None:
    assert shape(Place).container == "object"
    assert shape(dict[str, int]).container == "object"
    assert shape(list[int]).container == "array"
    assert shape(set[int]).container == "array"
    assert shape(int | list[int]).container == ""


def test_the_word_for_none_differs_from_a_choice_of_that_name() -> None:
    assert shape(Literal["mild", "severe"] | None).none == "none"
    assert shape(Literal["None", "severe"] | None).none == "null"
    assert shape(Literal["none", "severe"] | None).hint().endswith(", or null")


@pytest.mark.parametrize(
    ("annotation", "hint"),
    [
        (str, "text"),
        (int, "a whole number"),
        (float | None, "a number, or none"),
        (Colour, "one of red, blue"),
        (datetime.date, "a date as YYYY-MM-DD"),
    ],
)
def test_hint(annotation: Any, hint: str) -> None:
    assert shape(annotation).hint() == hint


class Tags(pydantic.BaseModel):
    names: set[str]
    more: list[frozenset[int]] = []


def test_nested_sets_are_sorted() -> None:
    schema = pydantic.TypeAdapter(dict[str, Tags | None]).json_schema()
    value = {"x": {"names": ["b", "c", "a"], "more": [[3, 1, 2]]}, "y": None}
    ordered = {"x": {"names": ["a", "b", "c"], "more": [[1, 2, 3]]}, "y": None}
    assert sort_sets(value, schema) == ordered


def test_lists_keep_their_order() -> None:
    numbers = random.Random(0).sample(range(100), 20)
    schema = pydantic.TypeAdapter(list[int]).json_schema()
    assert sort_sets(numbers, schema) == numbers
