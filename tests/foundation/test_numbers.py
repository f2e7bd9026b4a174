"""Numbers in text: one reading for the layouts and for metrics."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from helpers.time_limit import time_limit
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.foundation.numbers import last_number, only_number


def only(text: str) -> str | None:
    number = only_number(text)
    return number.text if number else None


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("-$5.00", "-5.00"),
        ("$-5", "-5"),
        ("-US$5", "-5"),
        ("USD -5", "-5"),
        ("\u20135", "-5"),
        ("\u22125", "-5"),
        ("minus 5", "-5"),
        ("Negative $3.50", "-3.50"),
        ("(5.00)", "-5.00"),
        ("$(5.00)", "-5.00"),
        ("($1,234.50)", "-1234.50"),
        ("(5.00) USD", "-5.00"),
        ("(5)%", "-5"),
        ("Answer - 5", "5"),
        ("- **5**", "5"),
        ("\\(5\\)", "5"),
        ("(see 5)", "5"),
    ],
)
def test_signs_are_never_lost(text: str, number: str) -> None:
    assert only(text) == number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1.5 million", "1500000"),
        ("$2.3M", "2300000"),
        ("$2.3 bn", "2300000000"),
        ("$5m", "5000000"),
        ("2.3 bn", "2300000000"),
        ("2 mln EUR", "2000000"),
        ("3k", "3000"),
        ("1.5k", "1500"),
        ("2 hundred thousand", "200000"),
        ("7B parameters", "7000000000"),
        ("0.1234567 thousand", "123.4567"),
        ("5kg", "5"),
        ("Rs5,000", "5000"),
        ("Rs. 2 lakh", "200000"),
        ("18 m", "18"),
    ],
)
def test_magnitudes_multiply(text: str, number: str) -> None:
    assert only(text) == number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1,234,567.80", "1234567.80"),
        ("12_345.5", "12345.5"),
        ("12,34,567", "1234567"),
        ("1.234,56", "1234.56"),
        ("1'234'567.5", "1234567.5"),
        ("1\u202f234", "1234"),
        ("\u20ac1 234,50", "1234.50"),
        ("1.100000000000000000000001", "1.100000000000000000000001"),
        ("007", "007"),
        ("2 * 10^3", "2e3"),
        ("6.02e23", "6.02e23"),
        ("1 1/2 cups", "1.5"),
        ("3/4", "0.75"),
        ("\u0663\u0664", "34"),
        ("1\u00bd", "1.5"),
        ("\u00be cup", "0.75"),
    ],
)
def test_numbers_keep_all_digits(text: str, number: str) -> None:
    assert only(text) == number


@pytest.mark.parametrize(
    "text",
    [
        "3 or 4",
        "10-5",
        "10 minus 5",
        "2026-01-02",
        "1/2/2024",
        "1 234",
        "1,5",
        "1.2.3",
        "3x4",
        "0x1F",
        "10\u00b2",
        "5m",
        "2.3 M",
        "300 K",
        "x = 3, y = 4",
        "3 >= 2",
        "9 * 2 = 18 after 3 days",
        "1/0",
        "five or six",
        "5 or six",
        "two to 10",
        "two thirds",
        "one moment",
        "5 and a half",
        "not 5",
        "It isn't 5.",
        "< 5",
        "5+",
        "H2O",
        "- 5",
        "\u2212 5",
        "- $5.00",
        "$ - 5",
        "Answer: - 5",
        "-(5)",
        "5.00-",
        "",
    ],
)
def test_a_text_that_may_mean_several_numbers_has_no_only_number(text: str) -> None:
    assert only(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "16 - 3 - 4 = 9\n9 * 2 = 18",
        "9 * 2 = $18",
        "9 * 2 = **18** eggs.",
        "Total = 2 + 4 * 4 = 18.",
        "$9 * 2 = 18$",
    ],
)
def test_the_result_of_the_last_equation_is_the_number(text: str) -> None:
    assert only(text) == "18"


def test_percentages_are_marked() -> None:
    number = only_number("about 50 %")
    assert number is not None
    assert (number.text, number.percent) == ("50", True)


@given(st.text() | st.text("0123456789.,/-+eE$%()=*kM x\n"))
def test_the_only_number_is_the_last_number(text: str) -> None:
    number = only_number(text)
    if number is not None and number.value is not None:
        assert last_number(text) == number


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3))
def test_decimals_are_exact(number: Decimal) -> None:
    assert [only(f"{number:f}"), only(f"${number:,f}".replace("$-", "-$"))] == [f"{number:f}"] * 2


@given(st.integers(0, 10**6), st.integers(0, 3))
def test_factors_are_exact(units: int, places: int) -> None:
    written = f"{Decimal(units).scaleb(-places):f}"
    assert Fraction(only(f"{written} million") or "") == Fraction(written) * 10**6


@pytest.mark.parametrize(
    "text",
    [
        "1" * 40_000,
        "1 " * 20_000,
        "1," * 20_000,
        "1,111" * 10_000,
        "-" * 40_000,
        "1=" * 20_000,
        "minus " * 8_000,
        "1" + "-" * 40_000 + "=5",
        "1+1=5" + "_" * 40_000 + "!",
        "x" + " " * 40_000 + "x",
        "1,000" + " " * 40_000 + "!",
        "(1" + " " * 40_000 + ")",
        "1" + " " * 40_000,
        "1/" * 20_000,
        "10^" * 12_000,
        "(" * 40_000,
        "1 hundred" + " hundred" * 6_000,
        "'1" * 20_000,
        "1_111" * 8_000,
        "-" + " " * 40_000 + "1",
        "1" + " " * 40_000 + "-",
        "$ " * 20_000 + "- 1",
    ],
)
def test_long_texts_are_read_in_linear_time(text: str) -> None:
    with time_limit(1):  # takes longer in quadratic time
        only_number(text)
        last_number(text)


@pytest.mark.parametrize("text", ["1" * 200_000, "1," * 100_000, "1=" * 100_000, "-" * 200_000])
def test_longer_texts_are_read_in_linear_time(text: str) -> None:
    only_number(text)  # would take minutes in quadratic time
    last_number(text)
