"""Refuse JSON values that pydantic would take for something that they are not.

It reads `true` as the number 1, and 2024 or "2024" as a time, counting seconds from 1970.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from lmpipe.layouts.fit_schema import options_of
from lmpipe.layouts.read_scalar import is_moment, read_scalar
from lmpipe.signatures.type_schema import each_item
from lmpipe.signatures.value_shape import Shape, shape_of


def refuse_guesses(value: Any, schema: Mapping[str, Any]) -> None:
    """Check a JSON value that is valid for a schema.

    Raises:
        ValueError: if pydantic reads a part of it as something that it does not say.
    """
    _Checker(schema.get("$defs", {})).check(value, schema)


@dataclass(frozen=True, slots=True)
class _Rule:
    """What values of a schema may be.

    Args:
        only: its only type, if it has one.
        takes_truth: whether `true` may be a value.
        of_texts: the kinds of dates and times that a text must be, if no type takes it as it is.
        of_numbers: the same of a number.
    """

    only: Mapping[str, Any]
    takes_truth: bool
    of_texts: tuple[Shape, ...]
    of_numbers: tuple[Shape, ...]


class _Checker:
    """Checks values of schemas that refer to the same definitions."""

    def __init__(self, definitions: Mapping[str, Any]) -> None:
        self._definitions = definitions
        self._rules: dict[int, _Rule] = {}  # by the identity of a schema

    def check(self, value: Any, schema: Any) -> None:
        rule = self._rules.get(id(schema))
        if rule is None:
            rule = self._rules[id(schema)] = _rule(options_of(schema, self._definitions))
        if isinstance(value, str):
            _check_moment(value, rule.of_texts)
        elif isinstance(value, bool):
            if not rule.takes_truth:
                raise ValueError(f"{str(value).lower()} is not a number or a time")
        elif isinstance(value, int | float):
            _check_moment(str(value), rule.of_numbers)
        elif isinstance(value, dict):
            known, rest = rule.only.get("properties", {}), rule.only.get("additionalProperties")
            for key, item in value.items():
                self.check(item, known.get(key, rest))
        elif isinstance(value, list):
            for item, one in zip(value, each_item(rule.only, value), strict=True):
                self.check(item, one)


def _rule(options: Sequence[Mapping[str, Any]]) -> _Rule:
    shapes = [shape_of(option) for option in options]
    moments = tuple(shape for shape in shapes if is_moment(shape))
    kinds = {shape.kind for shape in shapes if not is_moment(shape)}
    return _Rule(
        only=options[0] if len(options) == 1 else {},
        takes_truth=not shapes or bool(kinds & {"boolean", "choice", "json"}),
        of_texts=() if kinds & {"text", "choice"} else moments,
        of_numbers=() if kinds & {"integer", "number", "choice"} else moments,
    )


def _check_moment(text: str, moments: Sequence[Shape]) -> None:
    """Check that a text is a date, time or duration of one of some kinds, if there are any."""
    for shape in moments[:-1]:
        with suppress(ValueError):
            read_scalar(shape, text)
            return
    if moments:
        read_scalar(moments[-1], text)
