"""Write single values as text and read them back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from lmpipe.foundation.exact_json import dump_json
from lmpipe.layouts.layout import LayoutError
from lmpipe.layouts.read_json import read_json_value
from lmpipe.layouts.read_scalar import form_of, is_moment, read_scalar, unfenced
from lmpipe.signatures.signature_spec import FieldSpec
from lmpipe.signatures.value_shape import Shape

_NONE = {"none", "null", "n/a", "nil", "-", ""}
_QUOTES = {'"': '"', "'": "'", "`": "`", "\u201c": "\u201d", "\u2018": "\u2019", "<": ">"}
# Formats of texts without white space, which may be the only one of their kind in a sentence.
_ONE_WORD = {"uuid", "uri", "email", "ipv4", "ipv6", "ipvanyaddress"}
_NOT_IN_WORDS = re.compile(r"[\s<>{}\"`\\^|]")
_LONGEST_SENTENCE = 1000
_MOST_MARKS = 4  # around a text: quotes and a full stop


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
    if field.takes_any_text:
        return text, False
    if shape.optional and is_none(shape, text):
        return None, False
    if shape.kind == "json":
        return read_json_value(field, text)
    if shape.kind == "text" and not is_moment(shape):
        return _read_text(field, text), False
    try:
        return read_scalar(shape, text), False
    except ValueError:
        raise LayoutError(
            f"{field.name!r} must be {form_of(shape)}, got {_shown(shape, text)!r}"
        ) from None


def is_none(shape: Shape, text: str) -> bool:
    """Whether a text stands for no value, and for none of the choices."""
    word = text.strip(" .\"'`").lower()
    if word.startswith("[[") and word.endswith("]]"):
        word = word[2:-2] or word  # written like a marker
    return word in _NONE and word not in {str(choice).lower() for choice in shape.choices}


def _read_text(field: FieldSpec, text: str) -> str:
    """The first form of a text that is valid: itself, or without what LMs write around values."""
    one_word = field.shape.format in _ONE_WORD
    for form in _forms(field.shape, text):
        if one_word and _NOT_IN_WORDS.search(form):
            continue  # pydantic would take what surrounds an address into it
        with suppress(ValueError):
            field.typed(form)
            return form
    if one_word:
        raise LayoutError(f"{field.name!r} must be {field.type_name}, got {text[:100]!r}")
    return text  # its validation says what is wrong


def _forms(shape: Shape, text: str) -> Iterator[str]:
    if shape.format == "path":  # any text is a path, but few paths have quotes
        yield text.strip("\"'`")
    yield text
    if (inside := unfenced(text)) != text:
        text = inside
        yield text
    for _ in range(_MOST_MARKS):
        if len(text) > 1 and _QUOTES.get(text[0]) == text[-1] and text[-1] not in text[1:-1]:
            text = text[1:-1].strip()
        elif text.endswith("."):
            text = text[:-1]
        else:
            break
        yield text
    if shape.format in _ONE_WORD and len(text) <= _LONGEST_SENTENCE:
        yield from _only_word(text)


def _only_word(text: str) -> Iterator[str]:
    words = {word.strip(" .,;:!\"'`*()[]<>") for word in text.split()}
    marked = [word for word in words if re.search(r"[\w-][.:@-][\w/-]", word)]
    if len(marked) == 1:
        yield marked[0]


def _shown(shape: Shape, text: str) -> str:
    return (text.partition("\n")[0] if shape.kind == "choice" else text)[:100]
