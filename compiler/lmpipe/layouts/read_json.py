"""Read JSON values from replies, which may wrap them in prose or a code fence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import pydantic

from lmpipe.layouts.find_json import Found, find_json
from lmpipe.layouts.fit_schema import fit_schema, options_of
from lmpipe.layouts.layout import LayoutError
from lmpipe.layouts.read_list import read_list
from lmpipe.layouts.refuse_guesses import refuse_guesses
from lmpipe.layouts.repair_json import repair_json
from lmpipe.signatures.signature_spec import FieldSpec

_CONTAINERS = {"object": dict, "array": list, "": object}

_LEAST_COST = 1000
_LONGEST_REPAIRS = 20_000  # characters of one reply; repairs are slow

# Returns what a value is read as, or raises a ValueError if it is not what was asked for.
Accept = Callable[[Any], Any]


def read_json(name: str, text: str, container: str = "") -> tuple[Any, bool]:
    """Read the first JSON value of a text; errors show the name.

    Its container is `object` or `array` if the value must be one.

    Returns:
        The value, and whether it had to be repaired.

    Raises:
        LayoutError: if the text holds no such value.
    """

    def accept(value: Any) -> Any:
        if not isinstance(value, _CONTAINERS[container]):
            raise ValueError(f"not an {container}")
        return value

    chosen = choose_json(find_json(text), accept, accept)
    if chosen is None:
        raise _no_json(name, text, container)
    return chosen


def read_json_value(field: FieldSpec, text: str) -> tuple[Any, bool]:
    """Read the value of a field that is written as JSON: the first in the text that is valid.

    A type that takes text may have it without quotes.

    Returns:
        The raw value, and whether its JSON had to be repaired.

    Raises:
        LayoutError: if the text holds no JSON.
    """
    found = find_json(text)
    if _takes_text(field.marked_schema) and not found.whole:
        found = Found(())
    accept, fit = partial(checked, field), partial(fitted, field)
    lists = [] if found.whole else _lists(field, text)
    several = [items for items in lists if len(items) > 1]
    chosen = _first_valid(several, accept, fit) or choose_json(found, accept, fit)
    if chosen is None:  # text, or a number or choice in a sentence, or a list of one line
        chosen = _first_valid([text, *lists], accept, fit)
    if chosen is not None:
        return chosen
    container = field.shape.container
    invalid = [value for value in found.values if isinstance(value, _CONTAINERS[container])]
    if not invalid:
        raise _no_json(field.name, text, container)
    refuse_guessed(field, invalid[0])
    return invalid[0], False  # its validation says what is wrong


def _lists(field: FieldSpec, text: str) -> list[list[Any]]:
    """The lists that a text may be, if the field takes one kind of list."""
    schema = field.marked_schema
    definitions = schema.get("$defs", {})
    arrays = [one for one in options_of(schema, definitions) if one.get("type") == "array"]
    return list(read_list(text, arrays[0], definitions)) if len(arrays) == 1 else []


def _first_valid(values: Sequence[Any], accept: Accept, fit: Accept) -> tuple[Any, bool] | None:
    """The first value that is accepted or can be made to fit, as what it is read; it is no JSON."""
    for value in values:
        for read in (accept, fit):
            with suppress(ValueError):
                return read(value), False
    return None


def choose_json(found: Found, accept: Accept, fit: Accept) -> tuple[Any, bool] | None:
    """Choose the first value that is accepted, else that can be made to fit, else repaired.

    Returns:
        What it is read as, and whether it had to be changed; None if there is none.
    """
    for read, repaired in ((accept, False), (fit, True)):
        for value in found.values:
            try:
                return read(value), repaired
            except ValueError:
                continue
    left = _LONGEST_REPAIRS
    for text in found.broken:
        left -= max(len(text), _LEAST_COST)
        value = repair_json(text) if left >= 0 else None
        if value is None:
            continue
        for read in (accept, fit):
            try:
                return read(value), True
            except ValueError:
                continue
    return None


def checked(field: FieldSpec, value: Any) -> Any:
    """Check a value of a field, and return what pydantic reads without hints.

    Raises:
        ValueError: if it is not valid, or pydantic would take it for something that it is not.
    """
    raw = field.raw(value)
    if field.may_be_guessed:
        refuse_guesses(value, field.marked_schema, other_names=raw is not value)
    if value and isinstance(raw, pydantic.BaseModel) and not raw.model_fields_set:
        raise ValueError(f"{', '.join(map(repr, value))} is none of its keys")
    return raw


def refuse_guessed(field: FieldSpec, value: Any) -> None:
    """Refuse a value if pydantic would take it for something that it is not.

    Raises:
        LayoutError: if so.
    """
    try:
        checked(field, value)
    except pydantic.ValidationError:
        pass  # it is refused anyway
    except ValueError as error:
        raise LayoutError(f"{field.name!r} must be {field.type_name}: {error}") from None


def fitted(field: FieldSpec, value: Any) -> Any:
    """Check a value of a field after fitting it to the field's schema.

    Raises:
        ValueError: if the result is not valid, or differs between the types of a union.
    """
    schema = field.marked_schema
    options = schema.get("anyOf") or schema.get("oneOf") or [schema]
    readings: list[tuple[Any, Any]] = []
    if len(options) > 1 and isinstance(value, str) and " or " in value:
        raise ValueError("a text that names several values")
    for option in [schema] if "discriminator" in schema else options:
        fit = fit_schema(value, {**option, "$defs": schema.get("$defs", {})})
        with suppress(ValueError):
            raw = checked(field, fit)
            typed = field.typed(raw)
            if all(typed != other for other, _ in readings):
                readings.append((typed, raw))
    if len(readings) != 1:
        raise ValueError(f"{len(readings)} readings")
    return readings[0][1]


def _takes_text(schema: Mapping[str, Any]) -> bool:
    """Whether any text is a value: text is one of the types."""
    options = schema.get("anyOf", [schema])
    plain = {"title", "type", "default"}
    return any(o.get("type") == "string" and o.keys() <= plain for o in options)


def _no_json(name: str, text: str, container: str) -> LayoutError:
    kind = {"object": "a JSON object", "array": "a JSON list", "": "JSON"}[container]
    return LayoutError(f"{name!r} must be {kind}, got {text[:100]!r}")
