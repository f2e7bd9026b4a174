from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from lmpipe.errors import ConfigError, RecipeError
from lmpipe.foundation.checks import check_choice, check_fields, check_number, check_numbers


class Search:
    demos = 3
    rounds = -2


@pytest.mark.parametrize(
    ("value", "bounds"),
    [
        (0, {"minimum": 0, "integer": True}),
        (10**400, {"minimum": 0, "integer": True}),
        (-5, {"integer": True}),
        (1, {"above": 0, "maximum": 1}),
        (0.5, {}),
        (None, {"minimum": 0, "optional": True}),
    ],
)
def test_a_valid_number_passes(value: object, bounds: Any) -> None:
    check_number("Search", "demos", value, **bounds)


@pytest.mark.parametrize(
    ("value", "bounds", "message"),
    [
        (-1, {"minimum": 1, "integer": True}, "Search(demos=-1): demos must be 1 or more"),
        (2, {"minimum": 0, "maximum": 1}, "Search(demos=2): demos must be from 0 to 1"),
        (0, {"above": 0, "maximum": 1}, "Search(demos=0): demos must be above 0 and at most 1"),
        (1, {"above": 0, "below": 1}, "Search(demos=1): demos must be above 0 and below 1"),
        (-1, {"minimum": 0, "below": 1}, "Search(demos=-1): demos must be 0 or more and below 1"),
        (
            math.nan,
            {"minimum": 0, "optional": True},
            "Search(demos=nan): demos must be a finite number, 0 or more, or None",
        ),
        (math.inf, {}, "Search(demos=inf): demos must be a finite number"),
        (True, {"integer": True}, "Search(demos=True): demos must be a whole number"),
        ("3", {"minimum": 0}, "Search(demos='3'): demos must be a number, 0 or more"),
        (None, {}, "Search(demos=None): demos must be a number"),
        (3.0, {"integer": True}, "Search(demos=3.0): demos must be a whole number"),
        (
            np.int64(3),
            {"integer": True},
            "Search(demos=np.int64(3)): demos must be a plain int; convert this int64 with int()",
        ),
        (
            Fraction(1, 2),
            {},
            "Search(demos=Fraction(1, 2)): demos must be a plain float; "
            "convert this Fraction with float()",
        ),
    ],
)
def test_the_message_names_the_parameter_the_value_and_what_is_valid(
    value: object, bounds: Any, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        check_number("Search", "demos", value, **bounds)
    assert str(caught.value) == message


def test_the_caller_chooses_the_error() -> None:
    with pytest.raises(RecipeError):
        check_number("Search", "demos", -1, minimum=0, error=RecipeError)


def test_each_number_of_a_tuple_is_checked() -> None:
    check_numbers("Search", "k", (4, 8), minimum=1, integer=True)
    with pytest.raises(ConfigError, match=r"^Search\(k=\(4, 0\)\): each value of k must be 1 or"):
        check_numbers("Search", "k", (4, 0), minimum=1, integer=True)


@pytest.mark.parametrize("values", [(), "48", 4, None])
def test_a_tuple_of_numbers_is_needed(values: object) -> None:
    with pytest.raises(ConfigError, match="k must be a tuple of 1 or more whole numbers"):
        check_numbers("Search", "k", values, minimum=1, integer=True)


def test_fields_are_checked_by_name_and_the_first_bad_one_is_named() -> None:
    check_fields(Search(), "demos", minimum=0)
    with pytest.raises(ConfigError, match=r"^Search\(rounds=-2\): rounds must be 0 or more$"):
        check_fields(Search(), "demos", "rounds", minimum=0)


def test_a_choice_is_one_of_the_valid_strings() -> None:
    check_choice("Search", "effort", "light", ("light", "heavy"))
    with pytest.raises(ConfigError) as caught:
        check_choice("Search", "effort", "huge", ("light", "heavy"))
    assert str(caught.value) == "Search(effort='huge'): effort must be one of 'light', 'heavy'"


def test_a_value_that_cannot_be_hashed_is_refused_like_any_other() -> None:
    with pytest.raises(RecipeError, match="effort must be one of 'light'"):
        check_choice("Search", "effort", ["light"], ("light",), error=RecipeError)
