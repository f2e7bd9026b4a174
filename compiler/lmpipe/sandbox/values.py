"""Values that cross the border of a sandbox, which may be made to cost this process its time."""

from __future__ import annotations

from typing import Any

from pydantic import JsonValue

from lmpipe.signatures.signature import result_to_json

# Python itself refuses to write integers of more digits, as that takes long.
_MOST_BITS = 14_000


def plain_value(value: Any) -> JsonValue:
    """Return a value of the code as JSON; what JSON does not have becomes a text.

    Raises:
        ValueError: if it holds an integer with too many digits.
    """
    if _has_huge_integer(value):
        raise ValueError("an integer has more than 4,000 digits")
    made: JsonValue = result_to_json(value)
    return made


def _has_huge_integer(value: Any) -> bool:
    pending, seen = [value], set[int]()
    while pending:
        item = pending.pop()
        if isinstance(item, int):
            if item.bit_length() > _MOST_BITS:
                return True
        elif isinstance(item, dict | list | tuple | set | frozenset) and id(item) not in seen:
            seen.add(id(item))
            if isinstance(item, dict):
                pending += item.keys()
            pending += item.values() if isinstance(item, dict) else item
    return False
