"""Dollars are written in one form everywhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.foundation.dollars import dollars


@pytest.mark.parametrize(
    ("usd", "shown"),
    [
        (0, "$0.00"),
        (1234.5, "$1,234.50"),
        (1, "$1.00"),
        (0.5, "$0.5000"),
        (0.0123, "$0.0123"),
        (0.000012345, "$0.000012"),
        (3e-10, "$0.00000000030"),
    ],
)
def test_dollars(usd: float, shown: str) -> None:
    assert dollars(usd) == shown


@given(st.floats(1e-12, 1e9))
def test_an_amount_is_never_shown_as_nothing_and_two_digits_are_right(usd: float) -> None:
    shown = float(dollars(usd).removeprefix("$").replace(",", ""))
    assert shown > 0
    assert abs(shown - usd) <= 0.05 * usd
