"""Refuse JSON values that pydantic would take for something that they are not.

It reads `true` as the number 1, and 2024 or "2024" as a time, counting seconds from 1970.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from lmpipe.layouts.fit_schema import options_of
from lmpipe.layouts.read_scalar import is_moment, read_scalar
from lmpipe.signatures.type_schema import each_item
from lmpipe.signatures.value_shape import Shape, shape_of

_NUMBERS = {"integer", "number"}


def refuse_guesses(value: Any, schema: Mapping[str, Any]) -> None:
    """Check a JSON value that is valid for a schema.

    Raises:
        ValueError: if pydantic reads a part of it as something that it does not say.
    """
    _check(value, schema, schema.get("$defs", {}))


def _check(value: Any, schema: Any, definitions: Mapping[str, Any]) -> None:
    options = options_of(schema, definitions)
    if isinstance(value, bool):
        if options and all(option.get("type") in _NUMBERS for option in options):
            raise ValueError(f"{str(value).lower()} is not a number")
    elif isinstance(value, str | int | float):
        shapes = [shape_of(option) for option in options]
        moments = [shape for shape in shapes if is_moment(shape)]
        own = ("text", "choice") if isinstance(value, str) else ("integer", "number", "choice")
        if moments and not any(s.kind in own for s in shapes if not is_moment(s)):
            _check_moment(str(value), moments)
    elif len(options) == 1 and isinstance(value, dict):
        known, rest = options[0].get("properties", {}), options[0].get("additionalProperties")
        for key, item in value.items():
            _check(item, known.get(key, rest), definitions)
    elif len(options) == 1 and isinstance(value, list):
        for item, one in zip(value, each_item(options[0], value), strict=True):
            _check(item, one, definitions)


def _check_moment(text: str, moments: list[Shape]) -> None:
    """Check that a text is a date, time or duration of one of some kinds."""
    *others, last = moments
    for shape in others:
        with suppress(ValueError):
            read_scalar(shape, text)
            return
    read_scalar(last, text)
