"""Metrics for numbers, and reading numbers out of text."""

from __future__ import annotations

import math
import re
import sys
from functools import partial
from typing import Any

from lmpipe.data.example import jsonable
from lmpipe.errors import MetricError
from lmpipe.metrics.field_metric import FieldMetric, shown, verdict

# A sign is one only where no digit or letter stands before it: "10-5" holds 10 and 5.
_SIGN = r"(?:(?<![\w.)])[-+\u2212])?"
_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)"
_NUMBER = rf"""
    (?P<sign>{_SIGN}) [$€£¥]? (?P<minus>(?<=[$€£¥])[-\u2212])?
    (?:
        (?<!/) (?:(?P<whole>\d+)[ ]+)? (?P<top>\d+) \s?/\s? (?P<bottom>\d+) (?![\d/])
      | (?P<value>(?:{_DIGITS}(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+(?!\w))?)
    )
    (?P<percent>\s?(?:%|percent\b))?
"""
_FREE_NUMBER = re.compile(rf"(?<![\w.]){_NUMBER}", re.VERBOSE)
_ANY_NUMBER = re.compile(_NUMBER, re.VERBOSE)


# What rounding may add to a difference that is just within the tolerance.
_SLACK = 1 + 1e-9
# An int beyond it cannot be compared with floats.
_GREATEST = sys.float_info.max


def parse_number(text: str) -> float | int | None:
    """Read the number in a text: "$1,234.50", "18 apples", "-3", "1 1/2", "2e-3", "50%".

    Of several numbers it is the last, where answers that show their work have it. A percentage is
    the number before its sign. Digits within a word count only where there are no others.

    Returns:
        An int where the text spells one, else a float; None if there is no number.
    """
    return _parse(text)[0]


def numeric_match(
    *fields: str, gold: str | None = None, tolerance: float = 0, relative: float = 0
) -> FieldMetric:
    """Score 1 if the numbers of all fields are equal, up to a tolerance.

    Numbers in texts are read as by `parse_number`. Where one side alone is a percentage, "50%"
    equals both 50 and 0.5. Rounding errors of floats (1 in 10⁹) never count.

    Args:
        fields: the fields to compare.
        gold: the row's field, where it has another name.
        tolerance: the greatest difference that is still a match, in the number's own unit.
        relative: the same as a share of the gold number.

    Raises:
        MetricError: if a tolerance is negative or not finite.
    """
    for name, value in (("tolerance", tolerance), ("relative", relative)):
        if not 0 <= value < math.inf:
            raise MetricError(f"numeric_match: {name} is {value}; give 0 or more")
    compare = partial(_compare_numbers, tolerance=tolerance, relative=relative)
    settings = {
        name: value for name, value in (("tolerance", tolerance), ("relative", relative)) if value
    }
    return FieldMetric("numeric_match", fields, gold, compare, "all", settings)


def close(one: float | int, other: float | int) -> bool:
    """Say whether two numbers are equal but for rounding errors."""
    if isinstance(one, int) and isinstance(other, int):
        return one == other
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)


def _compare_numbers(
    gold: Any, predicted: Any, *, tolerance: float, relative: float
) -> tuple[float, str]:
    gold, predicted = jsonable(gold), jsonable(predicted)
    if gold is None or predicted is None:
        return verdict(gold, predicted, right=gold is predicted)
    (expected, gold_percent), (got, percent) = _read(gold), _read(predicted)
    if expected is None:
        raise MetricError(
            f"numeric_match: the row's value {shown(gold)} holds no number; compare another field"
        )
    if got is None:
        return 0.0, f"expected the number {expected}, got {shown(predicted)}, which holds none"
    pairs = [(expected, got)]
    if gold_percent != percent:
        pairs.append((expected / 100, got) if gold_percent else (expected, got / 100))
    right = any(
        close(one, other) or abs(one - other) <= max(tolerance, relative * abs(one)) * _SLACK
        for one, other in pairs
    )
    return verdict(gold, predicted, right=right)


def _read(value: Any) -> tuple[float | int | None, bool]:
    if isinstance(value, str):
        return _parse(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None, False
    return (value if abs(value) <= _GREATEST else None), False


def _parse(text: str) -> tuple[float | int | None, bool]:
    for pattern in (_FREE_NUMBER, _ANY_NUMBER):
        found = [(_value(match), bool(match["percent"])) for match in pattern.finditer(text)]
        known = [(number, percent) for number, percent in found if number is not None]
        if known:
            return known[-1]
    return None, False


def _value(match: re.Match[str]) -> float | int | None:
    sign = -1 if match["minus"] or match["sign"] in ("-", "\u2212") else 1
    if match["top"]:
        bottom = float(match["bottom"])
        if not bottom:
            return None
        value = sign * (float(match["whole"] or 0) + float(match["top"]) / bottom)
        return value if math.isfinite(value) else None
    digits = match["value"].replace(",", "")
    value = float(digits)
    if not math.isfinite(value):
        return None
    # Longer digit strings pass Python's limit for integers, and are no answers anyway.
    return sign * (int(digits) if digits.isdecimal() and len(digits) < 300 else value)
