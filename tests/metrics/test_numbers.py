"""Numbers in text, and metrics that compare them."""

from __future__ import annotations

import math
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.data.example import Example
from lmpipe.errors import MetricError
from lmpipe.metrics import numeric_match, parse_number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("18", 18),
        ("$1,234.50", 1234.5),
        ("18 apples", 18),
        ("-3", -3),
        ("\u22123", -3),
        ("-$5", -5),
        ("$-5", -5),
        ("+7", 7),
        ("- 5 eggs", 5),
        ("10-5", 5),
        (".5", 0.5),
        ("The answer is 42.", 42),
        ("3 + 15 = 18", 18),
        ("#### 1,000", 1000),
        ("1,2,3", 3),
        ("12,345,678", 12345678),
        ("3/4", 0.75),
        ("-1 1/2 cups", -1.5),
        ("1/0", None),
        ("on 1/2/2024", 2024),
        ("2e-3", 0.002),
        ("It is 2e5.", 2e5),
        ("50%", 50),
        ("50 percent", 50),
        ("18 m2", 18),
        ("5kg", 5),
        ("USD100", 100),
        ("-$5.00", -5.0),
        ("\u20135", -5),
        ("(5.00)", -5.0),
        ("minus 5", -5),
        ("1.5 million", 1_500_000),
        ("$2.3M", 2_300_000),
        ("3k", 3000),
        ("12_345.5", 12345.5),
        ("16 - 3 - 4 = 9\n9 * 2 = 18", 18),
        ("1e999", None),
        ("9" * 5000, None),
        ("none", None),
        ("", None),
        ("nan", None),
    ],
)
def test_numbers_are_parsed_from_text(text: str, number: float | None) -> None:
    assert parse_number(text) == number


@given(st.integers(-(10**18), 10**18))
def test_integers_are_parsed_exactly(number: int) -> None:
    assert [parse_number(f"{number}"), parse_number(f"${number:,} in all")] == [number, number]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_are_parsed_exactly(number: float) -> None:
    assert parse_number(repr(number)) == number


@given(st.text() | st.text("0123456789.,/-+e$% "))
def test_any_text_is_parsed_to_a_finite_number_or_none(text: str) -> None:
    number = parse_number(text)
    assert number is None or math.isfinite(number)


def value(gold: Any, predicted: Any, **options: Any) -> float:
    metric = numeric_match("answer", **options)
    return metric(Example(answer=gold), SimpleNamespace(answer=predicted)).value


@pytest.mark.parametrize(
    ("gold", "predicted", "score"),
    [
        (18, 18, 1),
        ("18", "18 apples", 1),
        ("1,234.50", 1234.5, 1),
        (0.3, 0.1 + 0.2, 1),
        (Decimal("0.3"), 0.3, 1),
        (18, 19, 0),
        (10**17, 10**17 + 1, 0),
        (18, "many", 0),
        (18, None, 0),
        (1, True, 0),
        (18, math.nan, 0),
        (18, 10**400, 0),
        (10**400, 10**400, 1),
        (10**400, 10**400 + 1, 0),
        (10**400, 1.5, 0),
        (10**400, "50%", 0),
        (None, None, 1),
        (None, 0, 0),
        ("50%", 0.5, 1),
        ("50", "50%", 1),
        (0.5, "50%", 1),
        ("50%", "0.5%", 0),
    ],
)
def test_numeric_match(gold: Any, predicted: Any, score: float) -> None:
    assert value(gold, predicted) == score


@pytest.mark.parametrize(
    ("gold", "predicted", "score"),
    [
        ([17, 18], "18 apples", 1),
        ([17, "$18.00"], 18, 1),
        ([17, 18], 19, 0),
        (["50%"], 0.5, 1),
        ([17, 18], None, 0),
        ([None, 18], None, 1),
    ],
)
def test_a_number_may_equal_any_of_several_gold_numbers(
    gold: Any, predicted: Any, score: float
) -> None:
    assert value(gold, predicted) == score


@pytest.mark.parametrize(
    ("options", "predicted", "score"),
    [
        ({"tolerance": 0.1}, 10.1, 1),
        ({"tolerance": 0.1}, 10.11, 0),
        ({"relative": 0.01}, 9.9, 1),
        ({"relative": 0.01}, 9.8, 0),
    ],
)
def test_tolerances(options: dict[str, float], predicted: float, score: float) -> None:
    assert value(10, predicted, **options) == score


def test_a_gold_value_without_a_number_is_an_error() -> None:
    with pytest.raises(MetricError, match="'unknown' contains no number"):
        value("unknown", 1)


@pytest.mark.parametrize("name", ["tolerance", "relative"])
@pytest.mark.parametrize("value", [-1, math.nan, math.inf, True, "1"])
def test_a_tolerance_is_a_finite_number_of_0_or_more(name: str, value: Any) -> None:
    options: Any = {name: value}
    with pytest.raises(MetricError, match=rf"numeric_match\({name}=.*: {name} must be"):
        numeric_match("answer", **options)


def test_settings_are_in_the_name() -> None:
    assert repr(numeric_match("answer", tolerance=0.1)) == "numeric_match('answer', tolerance=0.1)"
