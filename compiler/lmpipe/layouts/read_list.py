"""Read lists that are not JSON: bullets, numbered lines, JSON lines, and values with commas.

Texts are split at commas only where their number is known: "Paris, France" may be one item or two.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from lmpipe.foundation.numbers import only_number
from lmpipe.layouts.find_json import read_shallow
from lmpipe.layouts.read_scalar import is_moment, read_scalar, unfenced
from lmpipe.layouts.repair_json import repair_json
from lmpipe.signatures.type_schema import resolve
from lmpipe.signatures.value_shape import shape_of

_BULLET = re.compile(r"(?P<mark>[-*+\u2022\u2013\u25aa\u25e6\u2023])\s+(?P<item>\S.*)")
_NUMBERED = re.compile(r"(?P<number>\d{1,4})(?P<mark>[.):])\s+(?P<item>\S.*)", re.ASCII)
_SPACED_COMMA = re.compile(r"\s*(?:,\s+(?:and\s|or\s)?|;|\n|\s(?:and|&)\s)\s*")
_ANY_COMMA = re.compile(r"\s*[,;\n]\s*")
_THOUSANDS = re.compile(r"\d,\d{3}(?!\d)", re.ASCII)  # "1,234, 5" is two numbers, or three
_LONGEST_ROW = 5000  # characters of values with commas
# A number that is alone, without words before it: not "In 2024".
_BARE = re.compile(
    r"(?:(?:minus|negative)\s)?[^\w\s]{0,3}(?:[A-Z]{0,3}[$\u20ac\u00a3\u00a5])?[\d.]"
)
_PAIRS = {"(": ")", "{": "}"}


def read_list(
    text: str, schema: Mapping[str, Any], definitions: Mapping[str, Any]
) -> Iterator[Any]:
    """Yield the lists that a text may be, the likeliest first, with items as text or JSON.

    Args:
        text: a text that is not JSON.
        schema: the schema of the list, resolved.
        definitions: what it refers to.
    """
    text = unfenced(text)
    lines = [line.rstrip() for line in text.split("\n") if line.strip()]
    if len(lines) > 1 and (rows := _json_lines(lines)):
        yield rows
    if items := _listed(lines):
        yield items
    if (row := _row(text, schema, definitions)) is not None:
        yield row


def _json_lines(lines: list[str]) -> list[Any] | None:
    """The values of lines that are each a JSON object or list."""
    values = []
    for line in lines:
        part = line.strip().removesuffix(",")
        if part[:1] not in ("{", "["):
            return None
        try:
            values.append(read_shallow(part))
        except ValueError:
            return None
    return values


def _listed(lines: list[str]) -> list[str] | None:
    """The items of lines that all begin with the same bullet or count up, maybe after a heading."""
    if len(lines) > 1 and lines[0].endswith(":") and not _item(lines[0]):
        lines = lines[1:]
    found = [_item(line.strip()) for line in lines]
    if not found or {len(line) - len(line.lstrip()) for line in lines} != {_indent(lines[0])}:
        return None
    items = [match for match in found if match]
    if len(items) < len(found) or len({match["mark"] for match in items}) > 1:
        return None
    numbers = [int(match["number"]) for match in items if match.re is _NUMBERED]
    if numbers != list(range(1, len(numbers) + 1)):
        return None
    return [match["item"] for match in items]


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _item(line: str) -> re.Match[str] | None:
    return _BULLET.fullmatch(line) or _NUMBERED.fullmatch(line)


def _row(text: str, schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> list[Any] | None:
    """The items of one row of values with commas: `1, 2 and 3`, `(5, 6)`, `"a", "b"`."""
    if len(text) > _LONGEST_ROW:
        return None
    row = text.strip(" \t\r\n`*.")
    if row[:1] in _PAIRS and row.endswith(_PAIRS[row[0]]) and not re.search(r"[({:]", row[1:]):
        row = row[1:-1].strip()
    places = schema.get("prefixItems", ())
    if only_number(row) is not None and not (places and any(map(str.isalpha, row))):
        return None  # "1,234" is one number, or two
    if (values := _quoted_row(row)) is not None:
        return None if _THOUSANDS.search(row) and re.search(r",\s", row) else values
    if any(mark in row for mark in "[]{}"):
        return None  # JSON that was cut, or is wrong
    for comma in (_SPACED_COMMA, _ANY_COMMA):
        parts = [part for part in comma.split(row) if part]
        if len(parts) > 1:
            return parts if _are_items(parts, schema, definitions) else None
    return None


def _quoted_row(row: str) -> list[Any] | None:
    """The values of a row that is a JSON list without its brackets."""
    values: Any = None
    try:
        values = read_shallow(f"[{row}]")
    except ValueError:
        if "'" in row:  # texts without quotes may be one text with commas
            values = repair_json(f"[{row}]")
            texts = [one for one in values or () if isinstance(one, str)]
            values = values if all(f"'{one}'" in row for one in texts) else None
    return values if isinstance(values, list) and len(values) > 1 else None


def _are_items(parts: list[str], schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> bool:
    """Whether each part of a row is one item, and cannot be a part of one."""
    places, rest = list(schema.get("prefixItems", ())), schema.get("items")
    if places and not rest and len(parts) != len(places):
        return False
    for number, part in enumerate(parts):
        known = number < len(places)
        each = resolve(places[number] if known else rest, definitions)
        if not isinstance(each, Mapping):
            return False
        shape = shape_of({**each, "$defs": definitions})
        if shape.kind == "json" or (shape.kind == "text" and not is_moment(shape) and not known):
            return False
        if shape.kind in ("integer", "number") and only_number(part) and not _is_bare(part):
            return False
        try:
            read_scalar(shape, part)
        except ValueError:
            return False
    return True


def _is_bare(part: str) -> bool:
    return bool(_BARE.match(part)) or not any(char.isdigit() for char in part)
