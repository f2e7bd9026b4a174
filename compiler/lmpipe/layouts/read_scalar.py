"""Read one number, date, choice or other plain value from the words of an LM.

Texts outside of JSON and strings inside of it are read by the same functions.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from lmpipe.foundation.numbers import only_number
from lmpipe.layouts.read_choice import find_choice, find_truth
from lmpipe.layouts.read_duration import read_duration
from lmpipe.layouts.read_moment import read_date, read_datetime, read_time
from lmpipe.signatures.value_shape import Shape

_MOST_DIGITS = 400  # of a whole number that is written with an exponent
# A thousand where a point separates thousands, and else one.
_THOUSANDS = re.compile(r"-?[1-9]\d{0,2}\.000")
_FENCE = re.compile(r"```\w*\n((?:(?!```).)*+)```", re.DOTALL)
# Of these formats of texts, pydantic also reads a bare number, as seconds.
_READERS: dict[str, Callable[[str], str | None]] = {
    "date": read_date,
    "date-time": read_datetime,
    "time": read_time,
    "duration": read_duration,
}


def is_moment(shape: Shape) -> bool:
    """Whether values are dates, times or durations."""
    return shape.kind == "date" or shape.format in _READERS


def read_scalar(shape: Shape, text: str) -> Any:
    """Read a value that is not JSON from a text that can mean only one.

    Returns:
        The value as JSON; a number as its digits, a date or time in the form of ISO 8601.

    Raises:
        ValueError: if the text has no such value, or may mean several.
    """
    text = unfenced(text)
    if is_moment(shape):
        moment = _READERS[shape.format or "date"](text)
        return _known(moment, shape, text)
    match shape.kind:
        case "choice":
            found = find_choice(shape.spellings, text)
            return _known(found, shape, text)[0]
        case "boolean":
            return _known(find_truth(text), shape, text)
        case "integer" | "number":
            return _known(_number(shape, text), shape, text)
    return text


def unfenced(text: str) -> str:
    """Take a text out of the one code fence around it, and out of white space."""
    text = text.strip()
    fenced = _FENCE.fullmatch(text)
    return fenced[1].strip() if fenced else text


def form_of(shape: Shape) -> str:
    """Name what a text must be, for errors."""
    words = {"date-time": "a date and time", "time": "a time of day", "duration": "a duration"}
    return words.get(shape.format) or shape.hint()


def _known(value: Any, shape: Shape, text: str) -> Any:
    if value is None:
        raise ValueError(f"{text[:100]!r} is not {form_of(shape)}")
    return value


def _number(shape: Shape, text: str) -> str | None:
    number = only_number(text)
    if number is None:
        return None
    if shape.kind == "integer" and _THOUSANDS.fullmatch(number.text):
        return None
    if number.percent and shape.maximum is not None:
        return _share(number.text, shape.maximum)
    if shape.kind == "integer" and "e" in number.text:
        exact = Decimal(number.text)
        if exact.adjusted() < _MOST_DIGITS and exact == exact.to_integral_value():
            return format(exact, "f")
    return number.text


def _share(digits: str, maximum: float) -> str | None:
    """A percentage of a number with a maximum, which may be a share: "80%" is 0.8 if that is 1.

    If it is 1 or less, "0.5%" may be 0.5 or 0.005.
    """
    number = Decimal(digits)
    if abs(number) > maximum:
        return format(number / 100, "f")
    return digits if maximum > 1 or not number else None
