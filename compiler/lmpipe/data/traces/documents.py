"""The JSON documents of an exported file: one, a list of them, or one in each line."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from lmpipe.data.formats import PlacedRow, read_jsonl
from lmpipe.errors import DataError
from lmpipe.foundation.exact_json import load_json
from lmpipe.foundation.shorten import short_repr


def read_documents(path: Path) -> Iterator[PlacedRow]:
    """Read the objects of a `.jsonl`, `.ndjson` or `.json` file, each with its place.

    Raises:
        DataError: if the file cannot be read, or is not JSON; names the line.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file (in {Path.cwd()})")
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        yield from read_jsonl(path)
        return
    try:
        value = load_json(path.read_bytes().removeprefix(codecs.BOM_UTF8))
    except orjson.JSONDecodeError as error:
        raise DataError(
            f"{path}:{error.lineno}: is not JSON ({error.msg}); if the file has one object in each "
            "line, give it a name that ends in .jsonl"
        ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    if isinstance(value, dict):
        yield str(path), value
        return
    yield from objects(str(path), value)


def items(place: str, value: Any) -> Iterator[tuple[str, Any]]:
    """List the items of a list, each with its place.

    Raises:
        DataError: if it is not a list.
    """
    if not isinstance(value, list):
        raise DataError(f"{place}: expected a list, got {short_repr(value, 80)}")
    for number, item in enumerate(value, start=1):
        yield f"{place}: item {number}", item


def listed(place: str, document: dict[str, Any], name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """List the objects that a document holds by a name; one without such a list is the object.

    Raises:
        DataError: if an item of the list is not an object.
    """
    if isinstance(document.get(name), list):
        yield from objects(place, document[name])
    else:
        yield place, document


def unknown_object(place: str, expected: str, raw: Mapping[str, Any]) -> DataError:
    """Make the error that an object is not one of those that a format has."""
    return DataError(f"{place}: is {expected}: it has {', '.join(raw) or 'no fields'}")


def objects(place: str, value: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """List the objects of a list, each with its place.

    Raises:
        DataError: if it is not a list, or an item is not an object.
    """
    for where, item in items(place, value):
        yield where, as_object(where, item)


def object_at(place: str, raw: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the object that another holds by a name; an empty one if it holds none.

    A text that is JSON is read.

    Raises:
        DataError: if something else is there.
    """
    return as_object(f"{place}: {name}", parsed(raw.get(name)) or {})


def text_at(place: str, raw: Mapping[str, Any], *names: str) -> str | None:
    """Return the first text, such as an id, that an object holds by one of some names.

    Raises:
        DataError: if something else is there.
    """
    name = next((name for name in names if raw.get(name)), None)
    if name is None:
        return None
    if isinstance(raw[name], str | int):
        return str(raw[name])
    raise DataError(f"{place}: {name}: expected a text, got {short_repr(raw[name], 80)}")


def as_object(place: str, value: Any) -> dict[str, Any]:
    """Check that a value is an object.

    Raises:
        DataError: if it is not.
    """
    if not isinstance(value, dict):
        raise DataError(f"{place}: expected an object, got {short_repr(value, 80)}")
    return value


def parsed(value: Any) -> Any:
    """Read a text that is JSON; any other value stays."""
    if not isinstance(value, str):
        return value
    try:
        return load_json(value)
    except orjson.JSONDecodeError:
        return value
