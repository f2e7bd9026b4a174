"""What the sections of the page are made of: tables and named values, as plain text.

The templates escape all text; nothing in this package writes HTML.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from lmpipe.foundation.canonical_json import canonical_json
from lmpipe.foundation.media import without_bytes
from lmpipe.foundation.shorten import shorten
from lmpipe.state.program_state import to_plain


@dataclass(frozen=True)
class Column:
    """A column of a table: numbers are aligned to the right, `short` cells stay on one line."""

    title: str
    kind: Literal["text", "number", "short"] = "text"


@dataclass(frozen=True)
class Cell:
    """A cell of a table, with a second line in small type and a bar of length 0 to 1, if any."""

    text: str
    note: str = ""
    share: float | None = None


# `group` begins a group of rows; `best` and `total` are in bold.
RowKind: TypeAlias = Literal["plain", "best", "dropped", "total", "group"]


@dataclass(frozen=True)
class TableRow:
    """A row of a table."""

    cells: tuple[Cell, ...]
    kind: RowKind = "plain"


@dataclass(frozen=True)
class Table:
    """A table; the label is for screen readers."""

    label: str
    columns: tuple[Column, ...]
    rows: tuple[TableRow, ...]


def cells(*values: str | Cell) -> tuple[Cell, ...]:
    """Make cells of texts; cells stay as they are."""
    return tuple(value if isinstance(value, Cell) else Cell(value) for value in values)


def value_text(value: Any, limit: int = 1500) -> str:
    """Write a JSON value as text: strings as they are, all else as JSON; `limit` in characters."""
    text = (
        value if isinstance(value, str) else canonical_json(without_bytes(to_plain(value))).decode()
    )
    return shorten(text, limit)


def present(values: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the values that are None or an empty text."""
    return {name: value for name, value in values.items() if value is not None and value != ""}


def in_order(values: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Sort values by a list of names; those that are not listed follow."""
    first = {name: values[name] for name in names if name in values}
    return {**first, **values}


def compiled_last(names: Iterable[str]) -> Sequence[str]:
    """Sort the names of tested programs: baselines by name, then `compiled`."""
    return sorted(names, key=lambda name: (name == "compiled", name))
