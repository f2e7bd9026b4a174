"""Read durations as people write them: "90 minutes", "1 hour 30 min", "1h 30m", "half an hour"."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import cache

from lmpipe.foundation.number_words import NUMBER_WORD, has_number_word, number_in_words
from lmpipe.foundation.numbers import only_number

# By their length in microseconds, from the longest on. Months and years have no fixed length.
_UNITS = {
    r"weeks?|wks?|w": 7 * 86_400_000_000,
    r"days?|d": 86_400_000_000,
    r"hours?|hrs?|h": 3_600_000_000,
    r"minutes?|mins?|m": 60_000_000,
    r"seconds?|secs?|s": 1_000_000,
    r"milliseconds?|millis|msecs?|ms": 1000,
    r"microseconds?|µs|μs|us": 1,
}
_LENGTHS = tuple(_UNITS.values())
_LONGEST = 300  # characters of a sentence
_MARKS = " \t\r\n.,;:!\"'`*()[]\u201c\u201d\u2018\u2019"
_ISO = re.compile(
    r"[-+]?P(?=[\dT])(?:\d+(?:\.\d+)?W)?(?:\d+(?:\.\d+)?D)?"
    r"(?:T(?=\d)(?:\d+(?:\.\d+)?H)?(?:\d+(?:\.\d+)?M)?(?:\d+(?:\.\d+)?S)?)?",
    re.ASCII,
)
_NOT_ONE = re.compile(
    r"\b(?:not|never|or|either|between|to|from|per|each|every|half|quarter|months?|years?|decades?"
    r"|fortnights?|isn['\u2019]t|ago|business|working)\b",
    re.IGNORECASE,
)
_CLOCK = re.compile(
    r"(?P<sign>[-+]?)(?:(?P<days>\d{1,6})\s(?:days?,?\s)?)?"
    r"(?P<hours>\d{1,4}):(?P<minutes>[0-5]\d):(?P<seconds>[0-5]\d(?:\.\d{1,6})?)",
    re.ASCII,
)
_MINUS = re.compile(r"(?:^|(?<=\s))(?:[-\u2212\u2013]|minus|negative)\s?$", re.IGNORECASE)


@cache
def _part() -> re.Pattern[str]:
    units = "|".join(f"(?P<unit{place}>{names})" for place, names in enumerate(_UNITS))
    return re.compile(
        rf"""(?:(?<![\w.,/:])|(?<=\d[wdhms])(?=\d))(?:
            (?P<amount>(?:\d{{1,9}}\s)?\d{{1,9}}/\d{{1,9}} | \d[\d,]{{0,15}}(?:\.\d{{1,9}})?)[\s-]?
          | (?P<words>half\san? | an?
                | (?:{NUMBER_WORD})(?:[\s-](?:and\s)?(?:{NUMBER_WORD})){{0,4}})[\s-]
        )(?:{units})(?![^\W\d_])""",
        re.VERBOSE | re.IGNORECASE | re.ASCII,
    )


def read_duration(text: str) -> str | None:
    """Read the only duration of a text, in the form of ISO 8601; None for any other text."""
    text = text.strip(_MARKS)
    if _ISO.fullmatch(text):
        return text
    if len(text) > _LONGEST:
        return None
    if match := _CLOCK.fullmatch(text):
        days = f"{match['days']}D" if match["days"] else ""
        clock = f"{match['hours']}H{match['minutes']}M{match['seconds']}S"
        return f"{match['sign'].strip('+')}P{days}T{clock}"
    total, last, before, rest = Fraction(0), -1, "", list[str]()
    for match in _part().finditer(text):
        amount = _amount(match)
        if amount is None:
            continue
        place = next(n for n in range(len(_LENGTHS)) if match[f"unit{n}"])
        if place <= last:
            return None
        rest.append(text[len(before) : match.start()])
        total, last, before = total + amount * _LENGTHS[place], place, text[: match.end()]
    rest.append(text[len(before) :])
    if last < 0 or total.denominator != 1 or _has_more(" ".join(rest)):
        return None
    sign = "-" if _MINUS.search(rest[0]) else ""
    seconds, micros = divmod(int(total), 1_000_000)
    return f"{sign}PT{seconds}" + (f".{micros:06}" if micros else "") + "S"


def _amount(match: re.Match[str]) -> Fraction | None:
    words = (match["words"] or "").casefold()
    if words in ("a", "an", "half a", "half an"):
        return Fraction(1, 2) if words.startswith("half") else Fraction(1)
    number = None if words else only_number(match["amount"])
    digits = number_in_words(words) if words else number and number.text
    return Fraction(digits) if digits else None


def _has_more(rest: str) -> bool:
    """Whether what surrounds the parts of a duration may change what it is."""
    return (
        any(char.isdigit() for char in rest) or has_number_word(rest) or bool(_NOT_ONE.search(rest))
    )
