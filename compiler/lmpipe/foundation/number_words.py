"""Read whole numbers in words: "five", "minus twenty-one", "two hundred and five"."""

from __future__ import annotations

import re

_SMALL = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen"),
    *("eighteen", "nineteen"),
)
_ROUND = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_ONES = {word: number for number, word in enumerate(_SMALL)}
_TENS = {word: 10 * number for number, word in enumerate(_ROUND, 2)}
_GROUPS = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_SIGNS = {"minus", "negative"}
NUMBER_WORD = "|".join([*_ONES, *_TENS, *_GROUPS, "hundred", "dozen"])  # a regular expression
_MULTIPLE = re.compile("|".join(["hundred", "dozen", *_GROUPS]))
_NUMBER_WORD = re.compile(rf"\b(?:{NUMBER_WORD})\b", re.IGNORECASE)
# "Two thirds" and "five or" are not numbers with a unit.
_UNIT = re.compile(
    r"(?!(?:or|and|to|not|half|halves|quarters?|thirds?)\Z)"
    r"(?!(?:four|fif|six|seven|eigh|nin|ten|hundred|thousand|million)ths?\Z)[^\W\d_]{1,20}"
)
_LONGEST = 120
_MARKS = " \t\r\n.,;:!\"'`*()[]\u201c\u201d\u2018\u2019"
_ANSWER = re.compile(
    r"(?:so |thus |therefore |hence )?,? ?(?:the )?(?:final |correct )?"
    r"(?:answer|result|total|number|count|value|sum|it|this|that)(?: is|'s|:| =)\s+",
    re.IGNORECASE,
)


def has_number_word(text: str) -> bool:
    """Whether a text has a word that stands for a number."""
    return bool(_NUMBER_WORD.search(text))


def number_in_words(text: str) -> str | None:
    """Read a text that is one number in words, maybe with a unit: "five", "twelve apples".

    Returns:
        The number in digits; None for any other text.
    """
    if len(text) > _LONGEST:
        return None
    text = text.strip(_MARKS)
    if lead := _ANSWER.match(text):
        text = text[lead.end() :].strip(_MARKS)
    words = text.casefold().replace("-", " ").split()
    sign = "-" if words and words[0] in _SIGNS else ""
    words = words[len(sign) :]
    number = _value(words)
    # "One" before another word is often a pronoun or an article: "one moment".
    if number is None and words[1:] and words[:-1] != ["one"] and _UNIT.fullmatch(words[-1]):
        number = None if has_number_word(words[-1]) else _value(words[:-1])
    return None if number is None else f"{sign if number else ''}{number}"


def _value(words: list[str]) -> int | None:
    """The number that words spell, its groups from the largest to the smallest."""
    if words[:1] == ["a"] and words[1:2] != ["a"]:
        words = ["one", *words[1:]] if _MULTIPLE.fullmatch(" ".join(words[1:2])) else []
    if words[-1:] == ["dozen"]:
        dozens = _below_thousand(words[:-1]) if words[1:] else 1
        return dozens * 12 if dozens else None
    total, limit, group = 0, 10**15, list[str]()
    for word in words:
        if word not in _GROUPS:
            group.append(word)
            continue
        size, below = _GROUPS[word], _below_thousand(group)
        if not below or size >= limit:
            return None
        total, limit, group = total + below * size, size, []
    if total and not group:
        return total
    rest = _below_thousand(group[1:] if total and group[0] == "and" else group)
    return None if rest is None or (total and not rest) else total + rest


def _below_thousand(words: list[str]) -> int | None:
    if words[1:2] != ["hundred"]:
        return _below_hundred(words)
    hundreds, rest = _ONES.get(words[0], 0), words[2:]
    if not 0 < hundreds < 10:
        return None
    if not rest:
        return hundreds * 100
    below = _below_hundred(rest[1:] if rest[0] == "and" else rest)
    return hundreds * 100 + below if below else None


def _below_hundred(words: list[str]) -> int | None:
    match words:
        case [one] if one in _ONES:
            return _ONES[one]
        case [tens] if tens in _TENS:
            return _TENS[tens]
        case [tens, one] if tens in _TENS and 0 < _ONES.get(one, 0) < 10:
            return _TENS[tens] + _ONES[one]
    return None
