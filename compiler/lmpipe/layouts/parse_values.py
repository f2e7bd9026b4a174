"""Write single values as text and read them back."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import orjson

from lmpipe.layouts.layout import LayoutError
from lmpipe.signatures.signature_spec import FieldSpec
from lmpipe.signatures.value_shape import Shape

_NONE = {"none", "null", "n/a", "nil", "-", ""}
_TRUE = {"yes", "true", "1"}
_FALSE = {"no", "false", "0"}
_NUMBER = re.compile(r"-?(?:\d+(?:,\d{3})*(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+)?")
_DEEPEST = 100
_LONG_NUMBER = re.compile(r"\d{19}")
_FENCE = re.compile(r"```(?:json)?\s*(.*?)```", re.DOTALL)


def spell(field: FieldSpec, value: Any) -> str:
    """Write a JSON value of a field as text."""
    shape = field.shape
    if value is None and (shape.optional or shape.kind != "json"):
        return shape.none
    if shape.kind == "json":
        return json_text(value)
    if shape.kind == "choice" or isinstance(value, str):
        return str(value)
    if value is True or value is False:
        return "yes" if value else "no"
    return json_text(value)


def json_text(value: Any) -> str:
    """Write a JSON value compactly on one line; keys keep their order."""
    try:
        return orjson.dumps(value, default=_plain).decode()
    except TypeError:  # integers of more than 64 bits
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"not a JSON value: {type(value).__name__}")


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
            return read_json(field.name, text, shape.container)
    return text, False


def _is_none(shape: Shape, text: str) -> bool:
    word = text.strip(" .\"'`").lower()
    return word in _NONE and word not in {str(choice).lower() for choice in shape.choices}


def _read_choice(field: FieldSpec, shape: Shape, text: str) -> Any:
    spelled = {str(choice): choice for choice in shape.choices}
    if text in spelled:
        return spelled[text]
    folded = {_fold(name): choice for name, choice in spelled.items()}
    first_line = text.partition("\n")[0]
    for word in map(_fold, (text, first_line)):
        if word in folded:
            return folded[word]
    raise LayoutError(f"{field.name!r} must be {shape.hint()}, got {first_line[:100]!r}")


def _fold(text: str) -> str:
    return text.strip(" .,;:!\"'`*()[]").casefold().replace("_", " ").replace("-", " ")


def _read_boolean(field: FieldSpec, text: str) -> bool:
    word = _fold(text)
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise LayoutError(f"{field.name!r} must be yes or no, got {text[:100]!r}")


def _read_number(field: FieldSpec, text: str) -> Any:
    found = _NUMBER.findall(text.replace("\N{MINUS SIGN}", "-"))
    if len(found) != 1:
        raise LayoutError(f"{field.name!r} must be {field.shape.hint()}, got {text[:100]!r}")
    return found[0].replace(",", "")


def read_json(name: str, text: str, container: str = "") -> tuple[Any, bool]:
    """Read JSON from a reply that may wrap it in prose or a code fence; errors show the name.

    Its container is `object` or `array` if the value must be one.

    Returns:
        The value, and whether it had to be repaired.

    Raises:
        LayoutError: if the reply holds no JSON.
    """
    fenced = _FENCE.search(text)
    for candidate in (text, fenced.group(1) if fenced else "", *_enclosed(text, container)):
        try:
            return _shallow(_loads(candidate)), False
        except (ValueError, RecursionError):
            continue
    if not re.search(r"[\[{]", text):
        raise LayoutError(f"{name!r} must be JSON, got {text[:100]!r}")
    from json_repair import repair_json

    try:
        value = _shallow(repair_json(text, return_objects=True))
    except (ValueError, RecursionError):
        value = ""
    if value in ("", [], {}):
        raise LayoutError(f"{name!r} must be JSON, got {text[:100]!r}")
    return value, True


def _loads(text: str) -> Any:
    value = orjson.loads(text)
    # orjson reads integers of more than 64 bits as floats, which loses digits.
    return json.loads(text) if _LONG_NUMBER.search(text) else value


def _shallow(value: Any, depth: int = 0) -> Any:
    # Deeper values can be read but not written into traces.
    if depth > _DEEPEST:
        raise ValueError("nested too deeply")
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            _shallow(item, depth + 1)
    return value


def _enclosed(text: str, container: str) -> list[str]:
    """The text in the outermost braces and in the outermost brackets, in the order of the text."""
    braces, brackets = ("{", "}"), ("[", "]")
    pairs = {"object": (braces,), "array": (brackets,)}.get(container, (braces, brackets))
    spans = [(text.find(opening), text.rfind(closing) + 1) for opening, closing in pairs]
    return [text[start:end] for start, end in sorted(spans) if 0 <= start < end]
