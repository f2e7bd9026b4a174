"""Whether a value that was read from a text is in that text."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import re
import unicodedata
from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any

import pydantic

_TRUTHS = re.compile(r"yes|no|true|false|y|n|t|f|on|off|1|0", re.IGNORECASE)
# What a number may be written with beside its digits.
_COMPUTED = re.compile(
    r"/|\d\s*[kmbt]|%|percent|per cent|dozen|hundred|thousand|lakh|million|crore|illion|mio|mln|mrd"
    r"|zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|teen|twenty|thirty|forty"
    r"|fifty|sixty|seventy|eighty|ninety",
    re.IGNORECASE,
)
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
_MOST_DIGITS = 15  # of a float


def missing_parts(value: Any, text: str) -> Iterator[str]:
    """Yield the parts of a value whose digits or words are not in a text."""
    seen = set[tuple[type, Any]]()
    for part in _parts(value):
        if (type(part), part) in seen:
            continue
        seen.add((type(part), part))
        if not _is_in(part, text):
            yield repr(part)


def _parts(value: Any) -> Iterator[Any]:
    """The plain values inside a value; what has a default may be left out of a text."""
    if isinstance(value, pydantic.RootModel):
        yield from _parts(value.root)
    elif isinstance(value, pydantic.BaseModel):
        for name in value.model_fields_set:
            yield from _parts(getattr(value, name))
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from _parts(getattr(value, field.name))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _parts(key)
            yield from _parts(item)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from _parts(item)
    elif value is not None:
        yield value


def _is_in(value: Any, text: str) -> bool:
    if isinstance(value, enum.Enum):
        return any(_is_in(form, text) for form in (value.name, value.value))
    if isinstance(value, bool):
        return bool(_TRUTHS.search(text))
    if isinstance(value, int | float | Decimal):
        return _has_number(value, text)
    if isinstance(value, dt.timedelta):
        return bool(re.search(r"\d|\ban?\b", text)) or bool(_COMPUTED.search(text))
    if isinstance(value, dt.date):
        return str(value.year) in _digits(text) and str(value.day) in _digits(text)
    if isinstance(value, dt.time):
        hours = {str(value.hour), str(value.hour % 12), str(value.hour % 12 or 12)}
        return any(hour in _digits(text) for hour in hours) or bool(re.search("(?i)no|mid", text))
    if isinstance(value, bytes):
        value = value.decode()
    if isinstance(value, pydantic.SecretStr):
        value = value.get_secret_value()
    if isinstance(value, str) and value.isdecimal():  # a choice, or a key
        return _has_number(int(value), text)
    return _plain(str(value).removesuffix("/")) in _plain(text)


def _has_number(value: int | float | Decimal, text: str) -> bool:
    digits = _digits(text)
    shown = format(Decimal(str(value)), "f").replace(".", "").lstrip("-").strip("0")
    if isinstance(value, float) and len(digits) > _MOST_DIGITS:
        return True
    return shown in digits or _is_computed(text)


@lru_cache(maxsize=1)
def _is_computed(text: str) -> bool:
    """Whether a text may have numbers whose digits are not all that they have."""
    vulgar = any(unicodedata.category(char) == "No" for char in text)
    return vulgar or bool(_COMPUTED.search(_plain(text, keep="%/")))


@lru_cache(maxsize=1)
def _digits(text: str) -> str:
    return "".join(str(unicodedata.decimal(char)) for char in text if char.isdecimal())


@lru_cache(maxsize=8)
def _plain(text: str, *, keep: str = "") -> str:
    """Only the letters and digits of a text, without case and escapes."""
    text = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)
    text = re.sub(r"\\[nrtbf]", "", text).casefold()
    return "".join(char for char in text if char.isalnum() or char in keep)
