"""Check the numbers and choices that users give, where they give them."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isfinite
from numbers import Real
from typing import TypedDict, Unpack

from lmpipe.errors import ConfigError, InputError


class Bounds(TypedDict, total=False):
    """What a number must be; every key is optional, and `above` and `below` are exclusive.

    `error` is the class of the error to raise, `ConfigError` by default.
    """

    minimum: float
    maximum: float
    above: float
    below: float
    integer: bool
    optional: bool
    error: type[InputError]


def check_number(owner: str, name: str, value: object, **bounds: Unpack[Bounds]) -> None:
    """Check one number that a user gave.

    Booleans, strings, nan, infinity and the scalars of other libraries are refused: settings are
    hashed and written as JSON.

    Args:
        owner: what takes the number, such as a class; for the message.
        name: the parameter's name; for the message.
        value: what the user gave.
        bounds: what it must be; see `Bounds`.

    Raises:
        InputError: if the value is not such a number; the subclass is `bounds["error"]`.
    """
    if (value is None and bounds.get("optional")) or not (needed := _needed(value, bounds)):
        return
    problem = f"{name} must be {needed}"
    raise bounds.get("error", ConfigError)(f"{owner}({name}={value!r:.80}): {problem}")


def check_numbers(owner: str, name: str, values: object, **bounds: Unpack[Bounds]) -> None:
    """Check a sequence of 1 or more numbers that a user gave; see `check_number`."""
    if isinstance(values, Sequence) and not isinstance(values, str | bytes) and values:
        wrong = [needed for value in values if (needed := _needed(value, bounds))]
        if not wrong:
            return
        problem = f"each value of {name} must be {wrong[0]}"
    else:
        kind = "whole numbers" if bounds.get("integer") else "numbers"
        problem = f"{name} must be a tuple of 1 or more {kind}"
    raise bounds.get("error", ConfigError)(f"{owner}({name}={values!r:.80}): {problem}")


def check_fields(record: object, *names: str, **bounds: Unpack[Bounds]) -> None:
    """Check attributes of a settings object that have the same bounds; see `check_number`."""
    for name in names:
        check_number(type(record).__name__, name, getattr(record, name), **bounds)


def check_choice(
    owner: str,
    name: str,
    value: object,
    choices: Sequence[str],
    *,
    error: type[InputError] = ConfigError,
) -> None:
    """Check that a user gave one of some strings; see `check_number`."""
    if not isinstance(value, str) or value not in choices:
        valid = ", ".join(map(repr, choices))
        raise error(f"{owner}({name}={value!r:.80}): {name} must be one of {valid}")


def _needed(value: object, bounds: Bounds) -> str:
    """What a value must be instead, in words; empty if it is valid."""
    integer, words = bounds.get("integer", False), _range(bounds)
    rest = f", {words}" if words else ""
    if bounds.get("optional"):
        rest += ", or None"
    if isinstance(value, bool) or not isinstance(value, int | float | Real):
        return f"{'a whole number' if integer else 'a number'}{rest}"
    if not isinstance(value, int | float) or type(value) not in (int, float):
        plain = "int" if integer else "float"
        return f"a plain {plain}{rest}; convert this {type(value).__name__} with {plain}()"
    if isinstance(value, float) and (integer or not isfinite(value)):
        return f"{'a whole' if integer else 'a finite'} number{rest}"
    low, high = bounds.get("minimum", -inf), bounds.get("maximum", inf)
    above, below = bounds.get("above", -inf), bounds.get("below", inf)
    return "" if low <= value <= high and above < value < below else words


def _range(bounds: Bounds) -> str:
    if "minimum" in bounds and "maximum" in bounds:
        return f"from {bounds['minimum']} to {bounds['maximum']}"
    parts = [
        f"{bounds['minimum']} or more" if "minimum" in bounds else "",
        f"above {bounds['above']}" if "above" in bounds else "",
        f"at most {bounds['maximum']}" if "maximum" in bounds else "",
        f"below {bounds['below']}" if "below" in bounds else "",
    ]
    return " and ".join(filter(None, parts))
