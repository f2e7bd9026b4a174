"""The bounds of a value in words, from its JSON schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmpipe.foundation.plural import plural

_BOUNDS = {
    "minimum": "at least",
    "exclusiveMinimum": "more than",
    "maximum": "at most",
    "exclusiveMaximum": "less than",
    "multipleOf": "a multiple of",
    "pattern": "matching the regular expression",
}
# The bounds of a size: the keys of its minimum and maximum, and what is counted.
_SIZES = (
    ("minLength", "maxLength", "character"),
    ("minItems", "maxItems", "item"),
    ("minProperties", "maxProperties", "key"),
)


def bounds_in_words(schema: Mapping[str, Any]) -> list[str]:
    """Tell each bound of a schema, but none of those of its parts."""
    words = [f"{says} {_bound(schema[key])}" for key, says in _BOUNDS.items() if key in schema]
    for low_key, high_key, noun in _SIZES:
        low, high = schema.get(low_key), schema.get(high_key)
        if low is not None and low == high:
            words.append(f"exactly {plural(low, noun)}")
            continue
        if low is not None:
            words.append(f"at least {plural(low, noun)}")
        if high is not None:
            words.append(f"at most {plural(high, noun)}")
    return words


def _bound(value: Any) -> str:
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)
