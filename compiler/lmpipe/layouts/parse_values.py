"""Write single values as text and read them back."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from lmpipe.foundation.exact_json import dump_json
from lmpipe.foundation.numbers import only_number
from lmpipe.layouts.layout import LayoutError
from lmpipe.layouts.read_choice import find_choice, find_truth
from lmpipe.layouts.read_json import read_json_value
from lmpipe.signatures.signature_spec import FieldSpec
from lmpipe.signatures.value_shape import Shape

_NONE = {"none", "null", "n/a", "nil", "-", ""}
_MOST_DIGITS = 400  # of a whole number that is written with an exponent


class Written(str):
    """The text of a value that text layouts write as it is, though its type is one of JSON."""

    __slots__ = ()


class WrittenItems(list[str]):
    """The texts of the items of a list, which text layouts number."""

    @property
    def text(self) -> str:
        return "\n\n".join(f"[{number}] {item}" for number, item in enumerate(self, start=1))


def spell(field: FieldSpec, value: Any) -> str:
    """Write a JSON value of a field as text."""
    shape = field.shape
    if value is None and (shape.optional or shape.kind != "json"):
        return shape.none
    if shape.kind == "json" and type(value) is not Written:
        return value.text if type(value) is WrittenItems else json_text(value)
    if shape.kind == "choice" or isinstance(value, str):
        return str(value)
    if value is True or value is False:
        return "yes" if value else "no"
    return json_text(value)


def json_text(value: Any) -> str:
    """Write a JSON value compactly on one line; keys keep their order."""
    return dump_json(value).decode()


def read_value(field: FieldSpec, text: str) -> tuple[Any, bool]:
    """Read a value of a field from text.

    Text has no quotes, so an optional text of `none`, `null`, `n/a`, `-` or nothing at all is
    None; the JSON layout keeps such words.

    Returns:
        The raw value, and whether its JSON had to be repaired.

    Raises:
        LayoutError: if the text does not hold such a value.
    """
    shape, text = field.shape, text.strip()
    if shape.kind == "text" and not shape.optional:
        return text, False
    if shape.optional and _is_none(shape, text):
        return None, False
    match shape.kind:
        case "choice":
            return _read_choice(field, shape, text), False
        case "boolean":
            return _read_boolean(field, text), False
        case "integer" | "number":
            return _read_number(field, text), False
        case "json":
            return read_json_value(field, text)
    return text, False


def _is_none(shape: Shape, text: str) -> bool:
    word = text.strip(" .\"'`").lower()
    return word in _NONE and word not in {str(choice).lower() for choice in shape.choices}


def _read_choice(field: FieldSpec, shape: Shape, text: str) -> Any:
    found = find_choice(shape.spellings, text)
    if found is None:
        raise _wrong(field, text.partition("\n")[0])
    return found[0]


def _read_boolean(field: FieldSpec, text: str) -> bool:
    truth = find_truth(text)
    if truth is None:
        raise _wrong(field, text)
    return truth


def _read_number(field: FieldSpec, text: str) -> str:
    number = only_number(text)
    if number is None:
        raise _wrong(field, text)
    if field.shape.kind == "integer" and "e" in number.text:
        exact = Decimal(number.text)
        if exact.adjusted() < _MOST_DIGITS and exact == exact.to_integral_value():
            return format(exact, "f")
    return number.text


def _wrong(field: FieldSpec, text: str) -> LayoutError:
    return LayoutError(f"{field.name!r} must be {field.shape.hint()}, got {text[:100]!r}")
