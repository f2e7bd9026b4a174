"""The words that tell an LM what to give."""

from __future__ import annotations

import datetime
import decimal
import enum
from typing import Annotated, Any, Literal

import pydantic
import pytest
from helpers.layouts import TEXT_LAYOUTS
from helpers.odd_texts import outputs_spec
from pydantic import Field

from lmpipe.layouts import layout_named
from lmpipe.layouts.describe import describe


class Team(enum.Enum):
    BILLING = "billing"
    ON_HOLD = "on hold"


class Line(pydantic.BaseModel):
    amount: int = Field(ge=1)


@pytest.mark.parametrize(
    ("annotation", "words", "in_json"),
    [
        (str, "text", "a string"),
        (bool, "yes or no", "true or false"),
        (datetime.date, "a date as YYYY-MM-DD", "a string as YYYY-MM-DD"),
        (Literal["a", "b c"], "one of a, b c", 'one of "a", "b c"'),
        (int | None, "a whole number, or none", "a whole number, or null"),
        (Annotated[int, Field(ge=1, le=5)], "a whole number, at least 1, at most 5", None),
        (Annotated[float, Field(gt=0, lt=1)], "a number, more than 0, less than 1", None),
        (Annotated[decimal.Decimal, Field(ge=0, le=5)], "a number, at least 0, at most 5", None),
        (Annotated[int, Field(multiple_of=5)], "a whole number, a multiple of 5", None),
        (
            Annotated[str, Field(min_length=2, max_length=9)],
            "text, at least 2 characters, at most 9 characters",
            "a string, at least 2 characters, at most 9 characters",
        ),
        (
            Annotated[str, Field(pattern=r"^\d+$")],
            "text, matching the regular expression ^\\d+$",
            "a string, matching the regular expression ^\\d+$",
        ),
        (
            Annotated[int, Field(ge=1)] | None,
            "a whole number, at least 1, or none",
            "a whole number, at least 1, or null",
        ),
        (list[str], "a JSON list, each item a string", None),
        (list[Team], 'a JSON list, each item one of "billing", "on hold"', None),
        (
            Annotated[list[Literal["a", "b"]], Field(min_length=2, max_length=2)],
            'a JSON list, each item one of "a", "b", exactly 2 items',
            None,
        ),
        (
            list[Annotated[int, Field(ge=0)]] | None,
            "a JSON list, each item a whole number, at least 0, or none",
            "a JSON list, each item a whole number, at least 0, or null",
        ),
    ],
)
def test_types_and_their_bounds_are_told_in_words(
    annotation: Any, words: str, in_json: str | None
) -> None:
    field = outputs_spec(answer=annotation).outputs[0]
    assert describe(field) == words
    assert describe(field, in_json=True) == (in_json or words)


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (list[Line], 'JSON of this form: [{"amount": integer (at least 1)}, ...]'),
        (Line | None, 'JSON of this form: {"amount": integer (at least 1)}, or none'),
        (int | str | None, "JSON of this form: integer | string, or none"),
        (Any, "any JSON value"),
    ],
)
def test_nested_types_are_told_in_a_short_notation(annotation: Any, words: str) -> None:
    assert describe(outputs_spec(answer=annotation).outputs[0]) == words


def test_a_type_that_the_notation_cannot_write_is_told_as_its_schema() -> None:
    odd = pydantic.WithJsonSchema({"type": "object", "properties": {}, "if": {}})
    field = outputs_spec(answer=Annotated[dict[str, Any], odd]).outputs[0]
    assert describe(field) == 'JSON of this schema: {"if":{},"properties":{},"type":"object"}'


@pytest.mark.parametrize("name", TEXT_LAYOUTS)
def test_bounds_are_told_once_in_every_layout(name: str) -> None:
    for names in (["stars"], ["stars", "other"]):
        kinds = dict.fromkeys(names, Annotated[int, Field(ge=1, le=5)])
        system = layout_named(name).system(outputs_spec(**kinds), "Rate it.")
        assert system.count("at least 1, at most 5") == len(names)


@pytest.mark.parametrize("name", TEXT_LAYOUTS)
def test_the_form_holds_no_description_that_an_lm_could_copy(name: str) -> None:
    spec = outputs_spec(label=Literal["a", "b"], why=str)
    system = layout_named(name).system(spec, "Sort it.")
    assert system.count("one of") == 1
    assert system.count("text") + system.count("string") == 1
