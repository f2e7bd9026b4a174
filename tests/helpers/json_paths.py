"""The places in a JSON value, for tests that change each of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def paths(value: Any) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value inside a JSON value: the keys and positions that lead to it."""
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, item in items:
        yield (key,)
        for rest in paths(item):
            yield (key, *rest)
