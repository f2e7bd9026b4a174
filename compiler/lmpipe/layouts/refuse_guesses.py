"""Refuse JSON values that pydantic would take for something that they are not.

It reads `true` as the number 1, 2024 or "2024" as a time, counting seconds from 1970, and an object
with strange keys as a model whose fields all have defaults.
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


def refuse_guesses(value: Any, schema: Mapping[str, Any], *, other_names: bool = False) -> None:
    """Check a JSON value that is valid for a schema.

    Args:
        value: the value.
        schema: the schema.
        other_names: whether its objects may have other keys than those in the schema.

    Raises:
        ValueError: if pydantic reads a part of it as something that it does not say.
    """
    definitions = schema.get("$defs", {})

    def check(value: Any, schema: Any) -> None:
        options = options_of(schema, definitions)
        if isinstance(value, bool):
            if options and all(option.get("type") in _NUMBERS for option in options):
                raise ValueError(f"{str(value).lower()} is not a number")
        elif isinstance(value, str | int | float):
            _check_scalar(value, [shape_of(option) for option in options])
        elif value and isinstance(value, dict):
            objects = [option for option in options if option.get("type") == "object"]
            if objects and not other_names and all(_is_strange(value, one) for one in objects):
                raise ValueError(f"{min(value)!r} is none of its keys")
            if len(options) != 1:
                return
            known, rest = options[0].get("properties", {}), options[0].get("additionalProperties")
            for key, item in value.items():
                check(item, known.get(key, rest))
        elif len(options) == 1 and isinstance(value, list):
            for item, one in zip(value, each_item(options[0], value), strict=True):
                check(item, one)

    check(value, schema)


def _is_strange(value: dict[str, Any], schema: Mapping[str, Any]) -> bool:
    """Whether an object has none of the keys of a model."""
    known = schema.get("properties", {})
    return "additionalProperties" not in schema and bool(known) and not value.keys() & known.keys()


def _check_scalar(value: str | int | float, shapes: list[Shape]) -> None:
    """Check that a value is a date, time or duration, if it can be nothing else."""
    moments = [shape for shape in shapes if is_moment(shape)]
    own = ("text", "choice") if isinstance(value, str) else ("integer", "number", "choice")
    if not moments or any(s.kind in own for s in shapes if not is_moment(s)):
        return
    *others, last = moments
    for shape in others:
        with suppress(ValueError):
            read_scalar(shape, str(value))
            return
    read_scalar(last, str(value))
