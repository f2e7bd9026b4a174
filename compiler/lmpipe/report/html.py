"""The few pieces of HTML that the report page is made of; every value is escaped here."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from html import escape
from typing import Any

from lmpipe.foundation.canonical_json import canonical_json


def text(value: Any, most: int = 1500) -> str:
    """A value as escaped text: strings as they are, all else as JSON."""
    shown = value if isinstance(value, str) else canonical_json(value).decode()
    return escape(shown if len(shown) <= most else shown[: most - 1] + "…")


def section(title: str, *content: str) -> str:
    """A part of the page."""
    return f"<section><h2>{escape(title)}</h2>{''.join(content)}</section>"


def card(*content: str) -> str:
    """A framed box."""
    return f'<div class="card">{"".join(content)}</div>'


def chips(values: Mapping[str, Any]) -> str:
    """Short facts in a row; those without a value are left out."""
    items = (
        f"<li>{escape(name)} <b>{text(value)}</b></li>"
        for name, value in values.items()
        if value not in (None, "")
    )
    return f'<ul class="chips">{"".join(items)}</ul>'


def fields(values: Mapping[str, Any], most: int = 1500) -> str:
    """Names and values."""
    items = (f"<dt>{escape(name)}</dt><dd>{text(v, most)}</dd>" for name, v in values.items())
    return f"<dl>{''.join(items)}</dl>"


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numbers: Sequence[str] = (),
    whole: Sequence[str] = (),
    best: int | None = None,
    soft: Container[int] = (),
) -> str:
    """A table whose cells are HTML already.

    Args:
        columns: the header, as text.
        rows: cells, as HTML.
        numbers: the columns that stand to the right.
        whole: the columns whose cells stay on one line.
        best: the row to stress, if any.
        soft: the rows to show in a softer colour.
    """
    kinds = [
        ' class="n"' if name in numbers else ' class="w"' if name in whole else ""
        for name in columns
    ]
    head = "".join(f"<th{k}>{escape(name)}</th>" for k, name in zip(kinds, columns, strict=True))
    body = []
    for number, row in enumerate(rows):
        cells = "".join(f"<td{k}>{cell}</td>" for k, cell in zip(kinds, row, strict=True))
        kind = "best" if number == best else "dropped" if number in soft else ""
        kind = f' class="{kind}"' if kind else ""
        body.append(f"<tr{kind}>{cells}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
