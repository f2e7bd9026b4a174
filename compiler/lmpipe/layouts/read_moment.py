"""Read dates and times of day as people write them: "March 5th, 2024", "5 Mar 2024 at 3:30 pm".

Only what has one reading is read: not "05/03/2024", "March 5", "3:30" or "15:30 IST". Results are
in the form of ISO 8601.
"""

from __future__ import annotations

import datetime
import re
from functools import cache

_MONTHS = (
    *("january", "february", "march", "april", "may", "june", "july"),
    *("august", "september", "october", "november", "december"),
)
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_LONGEST = 300  # characters of a sentence
_MARKS = " \t\r\n.,;:!\"'`*()[]<>\u201c\u201d\u2018\u2019"
_NOT_IT = re.compile(
    r"\b(?:not|never|before|after|until|or|either|between|isn['\u2019]t|from)\b", re.IGNORECASE
)
# Of these, the offset is not known or not the same everywhere.
_ZONE = re.compile(
    r"\b(?:[A-Z]{1,3}[SDE]T|[ECMP]T|MSK|[A-Z][a-z]+/[A-Z]\w+)\b"
    r"|\b(?:eastern|pacific|central|mountain|local)\b",
    re.IGNORECASE,
)
_ISO = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?\s?(?:Z|[+-]\d\d:?\d\d)?",
    re.IGNORECASE | re.ASCII,
)
_MIDNIGHT = re.compile(r"(\d{4}-\d\d-\d\d)[T ]00:00(?::00(?:\.0+)?)?Z?", re.ASCII)
_COMPACT = re.compile(r"(?:19|20)\d{6}", re.ASCII)


@cache
def _date() -> re.Pattern[str]:
    month = "|".join(f"{name[:3]}(?:{name[3:]})?" for name in _MONTHS)
    month = month.replace("(?:tember)", "(?:t|tember)")
    day = r"[0-3]?\d(?:st|nd|rd|th)?(?!\d)"
    return re.compile(
        rf"""(?<![\w.,/-])(?:
            (?P<y1>\d{{4}})(?P<mark>[-/.])(?P<m1>\d{{1,2}})(?P=mark)(?P<d1>\d{{1,2}})
          | (?P<d2>{day})(?:\s|-)?(?:of\s)?(?P<m2>{month})\b\.?,?(?:\s|-)?(?P<y2>\d{{4}})
          | (?P<m3>{month})\b\.?\s?(?P<d3>{day})(?:,\s?|\s)(?P<y3>\d{{4}})
          | (?P<y4>\d{{4}}),?(?:\s|-)(?P<m4>{month})\b\.?(?:\s|-)(?P<d4>{day})
          | (?P<a>\d{{1,2}})(?P<slash>[-/.])(?P<b>\d{{1,2}})(?P=slash)(?P<y5>\d{{4}})
        )(?![\d/-]|[.,]\d)""",
        re.VERBOSE | re.IGNORECASE | re.ASCII,
    )


@cache
def _time() -> re.Pattern[str]:
    return re.compile(
        r"""(?<![\w.,:/-])T?(?:
            (?P<hour>\d{1,2})(?::(?P<minute>\d\d)(?::(?P<second>\d\d)(?P<part>\.\d{1,6})?)?)?
                \s?(?P<half>[ap])(?:m\b|\.\s?m\.?)
          | (?P<hour24>\d\d)[:h](?P<minute24>\d\d)(?::(?P<second24>\d\d)(?P<part24>[.,]\d{1,6})?)?
          | (?P<word>noon|midnight)\b
        )(?![\d:])
        (?:\s?(?P<zone>Z\b|(?:UTC|GMT)?[+-]\d{1,2}(?::?\d\d)?(?!\d)|UTC\b|GMT\b))?""",
        re.VERBOSE | re.IGNORECASE | re.ASCII,
    )


def read_date(text: str) -> str | None:
    """Read the only date of a text; None if it has none, several, or one with two readings."""
    text = text.strip(_MARKS)
    if match := _MIDNIGHT.fullmatch(text):
        text = match[1]
    if _COMPACT.fullmatch(text):
        return _valid_date(text[:4], text[4:6], text[6:])
    found = _find_date(text)
    return found[0] if found and not _has_more(found[1]) else None


def read_time(text: str) -> str | None:
    """Read the only time of day of a text; None for any other text."""
    text = text.strip(_MARKS)
    found = _find_time(text)
    if not found or _has_more(found[1]) or _ZONE.search(found[1]):
        return None
    return found[0]


def read_datetime(text: str) -> str | None:
    """Read the only date of a text, with its time of day or midnight; None for any other text."""
    text = text.strip(_MARKS)
    if _ISO.fullmatch(text):
        return text
    if _COMPACT.fullmatch(text):
        date = _valid_date(text[:4], text[4:6], text[6:])
        return date and f"{date}T00:00:00"
    found = _find_date(text)
    if not found:
        return None
    date, rest = found
    timed = _find_time(rest)
    time, rest = timed or ("00:00:00", rest)
    if _has_more(rest) or (timed and _ZONE.search(rest)):
        return None
    return f"{date}T{time}"


def _has_more(rest: str) -> bool:
    """Whether what surrounds a date or time may change what it means."""
    return any(char.isdigit() for char in rest) or bool(_NOT_IT.search(rest))


def _find_date(text: str) -> tuple[str, str] | None:
    """The only date in a text, and the text around it."""
    if len(text) > _LONGEST:
        return None
    matches = list(_date().finditer(text))
    if len(matches) != 1:
        return None
    [match] = matches
    if match["a"]:
        date = _valid_numeric_date(match["a"], match["b"], match["y5"])
    else:
        year, month, day = (
            next(part for part in match.group(*(f"{name}{form}" for form in "1234")) if part)
            for name in "ymd"
        )
        date = _valid_date(year, month, day.rstrip("stndrhSTNDRH"))
    rest = text[: match.start()] + " " + text[match.end() :]
    return None if date is None or not _has_its_weekday(date, rest) else (date, rest)


def _valid_numeric_date(first: str, second: str, year: str) -> str | None:
    """A date whose day and month have no known order, if only one order is possible."""
    readings = {_valid_date(year, first, second), _valid_date(year, second, first)} - {None}
    return readings.pop() if len(readings) == 1 else None


def _valid_date(year: str, month: str, day: str) -> str | None:
    if not month.isdecimal():
        prefix = month[:3].casefold()
        month = str(next(n for n, name in enumerate(_MONTHS, 1) if name.startswith(prefix)))
    try:
        return datetime.date(int(year), int(month), int(day)).isoformat()
    except ValueError:
        return None


def _has_its_weekday(date: str, rest: str) -> bool:
    """Whether the weekdays beside a date, if there are any, are those of the date."""
    own = _DAYS[datetime.date.fromisoformat(date).weekday()]
    words = re.findall(r"[a-z]+", rest.casefold())
    named = {day for day in _DAYS for word in words if word in (day, day[:3], day[:4], day + "s")}
    return named <= {own}


def _find_time(text: str) -> tuple[str, str] | None:
    """The only time of day in a text, and the text around it."""
    if len(text) > _LONGEST:
        return None
    matches = list(_time().finditer(text))
    if len(matches) != 1:
        return None
    [match] = matches
    time = _valid_time(match)
    return (time, text[: match.start()] + " " + text[match.end() :]) if time else None


def _valid_time(match: re.Match[str]) -> str | None:
    if match["word"]:
        hour, minute, second, part = (12 if match["word"].lower() == "noon" else 0), "00", "00", ""
    elif match["half"]:
        hour, minute, second, part = int(match["hour"]), *match.group("minute", "second", "part")
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if match["half"].lower() == "p" else 0)
    else:
        hour, minute, second, part = (
            int(match["hour24"]),
            *match.group("minute24", "second24", "part24"),
        )
    written = f"{hour:02}:{minute or '00'}:{second or '00'}{(part or '').replace(',', '.')}"
    try:
        datetime.time.fromisoformat(written)
    except ValueError:
        return None
    return written + _offset(match["zone"] or "")


def _offset(zone: str) -> str:
    """The offset of a zone: "Z", "+02:00"."""
    zone = zone.upper()
    digits = re.sub(r"\D", "", zone)
    if not zone or not digits:
        return "Z" if zone else ""
    sign = "-" if "-" in zone else "+"
    hours, minutes = (digits[:-2], digits[-2:]) if len(digits) > 2 else (digits, "00")
    return f"{sign}{int(hours):02}:{minutes}"
