"""Refuse JSON values that pydantic would take for something that they are not.

It reads `true` as the number 1, 2024 or "2024" as a time, counting seconds from 1970, and an object
with strange keys as a model whose fields all have defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from lmpipe.layouts.fit_schema import options_of
from lmpipe.layouts.read_scalar import is_moment, read_scalar
from lmpipe.signatures.type_schema import each_item
from lmpipe.signatures.value_shape import Shape, shape_of


def refuse_guesses(value: Any, schema: Mapping[str, Any], *, other_names: bool = False) -> None:
    """Check a JSON value that is valid for a schema.

    Args:
        value: the value.
        schema: the schema.
        other_names: whether its objects may have other keys than those in the schema.

    Raises:
        ValueError: if pydantic reads a part of it as something that it does not say.
    """
    _Checker(schema.get("$defs", {}), other_names).check(value, schema)


@dataclass(frozen=True, slots=True)
class _Rule:
    """What values of a schema may be.

    Args:
        options: the schemas of its types.
        takes_truth: whether `true` may be a value.
        choices: the texts and numbers that are choices.
        of_texts: the kinds of dates and times that any other text must be, if no type takes it as
            it is.
        of_numbers: the same of a whole number.
        of_fractions: the same of a number that is not whole.
    """

    options: Sequence[Mapping[str, Any]]
    takes_truth: bool
    choices: frozenset[Any]
    of_texts: tuple[Shape, ...]
    of_numbers: tuple[Shape, ...]
    of_fractions: tuple[Shape, ...]

    def moments_of(self, value: str | int | float) -> tuple[Shape, ...]:
        """The kinds of dates and times of which a value must be one, if any."""
        if isinstance(value, str):
            return self.of_texts
        whole = isinstance(value, int) or value.is_integer()
        return self.of_numbers if whole else self.of_fractions


class _Checker:
    """Checks values of schemas that refer to the same definitions."""

    def __init__(self, definitions: Mapping[str, Any], other_names: bool) -> None:
        self._definitions, self._other_names = definitions, other_names
        self._rules: dict[int, _Rule] = {}  # by the identity of a schema

    def check(self, value: Any, schema: Any) -> None:
        rule = self._rules.get(id(schema))
        if rule is None:
            rule = self._rules[id(schema)] = _rule(options_of(schema, self._definitions))
        if isinstance(value, bool):
            if not rule.takes_truth:
                raise ValueError(f"{str(value).lower()} is not a number or a time")
        elif isinstance(value, str | int | float):
            if value not in rule.choices:
                _check_moment(str(value), rule.moments_of(value))
        elif value and isinstance(value, dict | list):
            same = _likeliest(value, rule.options)
            _first_passed([partial(self._check_items, value, option) for option in same])

    def _check_items(self, value: dict[str, Any] | list[Any], option: Mapping[str, Any]) -> None:
        if isinstance(value, list):
            for item, one in zip(value, each_item(option, value), strict=True):
                self.check(item, one)
            return
        known, rest = option.get("properties", {}), option.get("additionalProperties")
        if known and rest is None and not self._other_names and value.keys().isdisjoint(known):
            raise ValueError(f"{', '.join(map(repr, value))} is none of its keys")
        for key, item in value.items():
            self.check(item, known.get(key, rest))


def _rule(options: Sequence[Mapping[str, Any]]) -> _Rule:
    shapes = [shape_of(option) for option in options]
    moments = tuple(shape for shape in shapes if is_moment(shape))
    kinds = {shape.kind for shape in shapes if not is_moment(shape)}
    return _Rule(
        options,
        takes_truth=not shapes or any(map(_takes_truth, shapes)),
        choices=frozenset(choice for shape in shapes for choice in shape.spellings.values()),
        of_texts=() if "text" in kinds else moments,
        of_numbers=() if kinds & {"integer", "number"} else moments,
        of_fractions=() if "number" in kinds else moments,
    )


def _likeliest(value: Any, options: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The types that a list or object may have: of objects, those that know most of its keys."""
    if isinstance(value, list):
        return [option for option in options if option.get("type") == "array"]
    objects = [option for option in options if option.get("type") == "object"]
    if len(objects) < 2:
        return objects
    known = [len(value.keys() & option.get("properties", {}).keys()) for option in objects]
    return [each for each, count in zip(objects, known, strict=True) if count == max(known)]


def _takes_truth(shape: Shape) -> bool:
    if shape.kind == "choice":
        return any(isinstance(choice, bool) for choice in shape.spellings.values())
    return shape.kind == "boolean" or (shape.kind == "json" and not shape.container)


def _check_moment(text: str, moments: Sequence[Shape]) -> None:
    """Check that a text is a date, time or duration of one of some kinds, if there are any."""
    _first_passed([partial(read_scalar, shape, text) for shape in moments])


def _first_passed(checks: Sequence[Callable[[], Any]]) -> None:
    """Make checks until one passes.

    Raises:
        ValueError: the error of the last one, if all fail.
    """
    for check in checks[:-1]:
        with suppress(ValueError):
            check()
            return
    if checks:
        checks[-1]()
