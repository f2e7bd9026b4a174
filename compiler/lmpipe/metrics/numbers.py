"""Compare numbers, and parse numbers in text."""

from __future__ import annotations

import math
import sys
from functools import partial
from typing import Any

from lmpipe.data.example import jsonable
from lmpipe.errors import MetricError
from lmpipe.foundation.checks import check_number
from lmpipe.foundation.numbers import last_number
from lmpipe.foundation.shorten import short_repr
from lmpipe.metrics.field_metric import FieldMetric, verdict

# Allows for rounding of a difference that equals the tolerance.
_SLACK = 1 + 1e-9
# A larger int cannot be converted to a float.
_MAX_FLOAT = sys.float_info.max


def parse_number(text: str) -> float | int | None:
    """Parse the number in a text: "$1,234.50", "18 apples", "-3", "1 1/2", "2e-3", "50%", "2.3M".

    The last of several numbers is used, since answers that show their work end with the result. A
    percentage is the number before the percent sign. Digits within a word are used only if there
    are no others. An amount in parentheses and nothing else, "(5.00)", is negative, as in
    accounting.

    Returns:
        An int if the text spells one, else a float; None if the text has no number.
    """
    return _parse(text)[0]


def numeric_match(
    *fields: str, gold: str | None = None, tolerance: float = 0, relative: float = 0
) -> FieldMetric:
    """Score 1 if the numbers of all fields are equal, up to a tolerance.

    Numbers in texts are parsed by `parse_number`. If only one side is a percentage, "50%" equals
    both 50 and 0.5. Rounding errors of floats (1 in 10⁹) are ignored. If the gold value is a list,
    the number may equal any item of it.

    Args:
        fields: the fields to compare.
        gold: the example's field, if it has another name.
        tolerance: the maximum absolute difference, in the unit of the number.
        relative: the maximum difference as a share of the gold number.

    Raises:
        MetricError: if a tolerance is negative or not finite.
    """
    settings = {"tolerance": tolerance, "relative": relative}
    for name, value in settings.items():
        check_number("numeric_match", name, value, minimum=0, error=MetricError)
    compare = partial(_compare_numbers, **settings)
    given = {name: value for name, value in settings.items() if value}
    return FieldMetric("numeric_match", fields, gold, compare, "all", given)


def close(one: float | int, other: float | int) -> bool:
    """Whether two numbers are equal except for rounding errors."""
    if isinstance(one, int) and isinstance(other, int):
        return one == other
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)


def _compare_numbers(
    gold: Any, predicted: Any, *, tolerance: float, relative: float
) -> tuple[float, str]:
    gold, predicted = jsonable(gold), jsonable(predicted)
    if isinstance(gold, list) and gold and not isinstance(predicted, list):
        compared = [
            _compare_numbers(one, predicted, tolerance=tolerance, relative=relative) for one in gold
        ]
        return verdict(gold, predicted, right=any(value for value, _ in compared))
    if gold is None or predicted is None:
        return verdict(gold, predicted, right=gold is predicted)
    (expected, gold_percent), (got, percent) = _number_in(gold), _number_in(predicted)
    if expected is None:
        raise MetricError(
            f"numeric_match: the gold value {short_repr(gold)} contains no number; compare another "
            "field"
        )
    if got is None:
        return 0.0, f"expected the number {expected}, got {short_repr(predicted)} without a number"
    if max(abs(expected), abs(got)) > _MAX_FLOAT:
        return verdict(gold, predicted, right=expected == got)
    pairs = [(expected, got)]
    if gold_percent != percent:
        pairs.append((expected / 100, got) if gold_percent else (expected, got / 100))
    right = any(
        close(one, other) or abs(one - other) <= max(tolerance, relative * abs(one)) * _SLACK
        for one, other in pairs
    )
    return verdict(gold, predicted, right=right)


def _number_in(value: Any) -> tuple[float | int | None, bool]:
    if isinstance(value, str):
        return _parse(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None, False
    return (value if isinstance(value, int) or math.isfinite(value) else None), False


def _parse(text: str) -> tuple[float | int | None, bool]:
    """Return the number in a text, if it fits a float, and whether it is a percentage."""
    number = last_number(text)
    if number is None or number.value is None or abs(number.value) > _MAX_FLOAT:
        return None, False
    return number.value, number.percent
