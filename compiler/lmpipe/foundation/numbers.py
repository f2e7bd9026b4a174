"""Read the number that a text spells, exactly: "-$1,234.50", "2.3M", "(5.00)", "9 * 2 = 18".

The layouts read replies with `only_number`, which refuses a text that may mean several numbers;
metrics read answers with `last_number`. Where both read a text, they read the same number.
"""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import cache
from itertools import islice

from lmpipe.foundation.number_words import has_number_word, number_in_words

_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2212\ufe63\uff0d-"  # the hyphen last, for [...]
# A sign after a digit or a letter is a separator or an operator: "10-5" contains 10 and 5.
_SIGN = (
    rf"(?<![\w.)])[+{_DASHES}]"
    r"|(?<![\w.)])(?<![\d%)]\s)(?i:minus|negative)\s{1,3}"
)
_CURRENCY = (
    r"(?:[A-Z]{1,3})?[$€£¥₹₩₽₺₫₴฿₿₦₪]"
    r"|(?:USD|EUR|GBP|JPY|CHF|CAD|AUD|NZD|CNY|INR)(?![A-Za-z])|(?<![A-Za-z])R[sp]\.?(?![A-Za-z])"
)
_SPACES = "\u00a0\u202f\u2009"
_FACTORS = {
    "dozen": 12,
    "hundred": 10**2,
    "thousand": 10**3,
    "lakh": 10**5,
    "million": 10**6,
    "crore": 10**7,
    "billion": 10**9,
    "trillion": 10**12,
    "mio": 10**6,
    "mln": 10**6,
    "bln": 10**9,
    "mrd": 10**9,
}
_LETTERS = {"k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}
# Digits are possessive (`++`): a number is never read in part, and reading takes linear time.
_NUMBER = rf"""
    (?P<sign>{_SIGN})? (?:(?P<currency>{_CURRENCY})[ ]?(?P<minus>[{_DASHES}])?)?
    (?:
        (?<!/)(?:(?P<whole>\d{{1,15}})[ ]{{1,3}})?
        (?P<top>\d{{1,15}})\s?/\s?(?P<bottom>\d{{1,15}})(?![\d/]|\.\d)
      | (?:
            (?P<european>\d{{1,3}}(?:\.\d{{3}})++,\d{{1,2}}+)(?![,.]?\d)
          | (?P<grouped>
                \d{{1,3}}(?:(?:,\d{{3}})++|(?:['\u2019{_SPACES}]\d{{3}})++|(?:_\d{{3}})++)
                (?!\d)(?:\.\d++)?+
            )
          | (?P<lakhs>\d{{1,2}}(?:,\d{{2}}(?=,))++,\d{{3}}(?!\d)(?:\.\d++)?+)
          | (?P<plain>\d++(?:\.\d++)?+|\.\d++)
        )
        (?!\.\d|[⁰¹²³⁴⁵⁶⁷⁸⁹½⅓⅔¼¾]|(?<=0)[xX][0-9a-fA-F])
        (?:
            [eE](?P<exponent>[-+]?\d++)(?!\w)
          | [ ]?[x\u00d7*\u00b7][ ]?10(?:\^|\*\*)\{{?(?P<power>[-+]?\d++)\}}?
          | (?P<words>(?:[ -]?(?i:{"|".join(_FACTORS)})(?i:s)?\b){{1,3}}+)
          | (?P<letter>(?(currency)[ ]?[kKmMbBtT]|[kKMB])n?|[ ]?[mbt]n)(?!\w)
        )?+
    )
    (?P<percent>\s?(?:%|per\s?cent\b))?
"""
_IN_PARENTHESES = re.compile(
    rf"(?P<before>{_CURRENCY})?\s?\((?P<inside>[^()]*)\)(?P<after>\s?(?:{_CURRENCY}|%))?"
)
_ENDS_WITH_CURRENCY = re.compile(rf"(?:{_CURRENCY})\Z")
# Spaces separate thousands where a currency or decimals show that it is one number.
_SPACED = re.compile(
    rf"(?:{_SIGN})?(?:(?:{_CURRENCY})\s?\d{{1,3}}(?: \d{{3}})++(?:[.,]\d{{1,2}})?+"
    r"|\d{1,3}(?: \d{3})++[.,]\d{1,2})\s?(?:%|[^\W\d]+)?"
)
_EQUALS = re.compile(r"(?<![<>!=~:≤≥])=(?![=>])")
_CALCULATION = re.compile(rf"\d[^\d\n]{{0,40}}?[+*/\u00d7\u00f7x^{_DASHES}][^\d\n]{{0,40}}?\d")
_OPENING = re.compile(r"[\s*_`$\\({\[]*")
_ENDING = re.compile(r"[\s*_`.$)}\]]*+(?:[^\W\d_]++)?[\s*_`.$)}\]]*+")
# "5m" may be metres, minutes or millions, and "5 K" thousands or kelvins.
_AMBIGUOUS_UNIT = re.compile(r"[mbtT]\b(?!/)|[ ][kKMBT]\b(?!/)")
_VULGAR_FRACTION = re.compile(r"\s?([\u00bc-\u00be\u2150-\u215e])")  # one half, three quarters, …
# Before a number: "not 5", "< 5", "x5"; a quoted line of Markdown begins with ">".
_NOT_IT = re.compile(r"(?:\b(?:not|never|isn['\u2019]t)\s{1,3}|[<≤≥≠]=?\s?|>=\s?|[A-Za-z])\Z")
# Beside a number: "5 or six", "five to 10", "5 out of ten".
_MORE_BEFORE = re.compile(r"(\w+)[\s-]{1,3}(?:or|and|to|through|plus|minus|times)\s{1,3}\Z")
_MORE_AFTER = re.compile(r"\s{1,3}\(?(?:or|and|to|through|plus|minus|times|out of)\s{1,3}(\w+)")
_REPEATED = re.compile(r"\s{0,3}\(([^()\d]{1,60})\)")  # "5 (five)"
_PART_AFTER = re.compile(r"\s{1,3}and\s{1,3}(?:a|one)\s{1,3}(?:half|third|quarter)")
_MAX_DIGITS = 4000  # Python limits the digits of integers


# Compiled when they are first used, because that takes milliseconds.
@cache
def _any_number() -> re.Pattern[str]:
    return re.compile(_NUMBER, re.VERBOSE)


@cache
def _free_number() -> re.Pattern[str]:
    """A number that is not a part of a word."""
    return re.compile(rf"(?<![\w.]){_NUMBER}", re.VERBOSE)


@dataclass(frozen=True, slots=True)
class Number:
    """A number in a text.

    Args:
        text: the number in digits that `int`, `float` and `Decimal` read; all digits are kept.
        percent: whether a percent sign follows; the number is the one before it.
    """

    text: str
    percent: bool = False

    @property
    def value(self) -> int | float | None:
        """An int if the text spells one, else a float; None if it is too large for one."""
        if self.text.lstrip("-").isdecimal() and len(self.text) <= _MAX_DIGITS:
            return int(self.text)
        value = float(self.text)
        return value if math.isfinite(value) else None


def only_number(text: str) -> Number | None:
    """Read the number of a text that can mean only one.

    That is the only number in the text, with all of its digits, or the result of the last
    calculation if nothing but a unit follows it, or one in words if there is nothing else: "five".
    Returns None for any other text.
    """
    if not text.isascii():
        text = _VULGAR_FRACTION.sub(_in_digits, text)
    text = _join_groups(text.strip())
    inside, negative = _accounting(text)
    if negative:
        return _single(inside, negative=True)
    number = _single(text) or _result(text)
    if number is None and (words := number_in_words(text)):
        return Number(words)
    return number


def last_number(text: str) -> Number | None:
    """Read the only number of a text, else its last one; None if there is none.

    Digits within a word are used only if there are no others.
    """
    number = only_number(text)
    if number is not None and number.value is not None:
        return number
    for pattern in (_free_number(), _any_number()):
        for match in reversed(list(pattern.finditer(text))):
            number = _number(match)
            if number is not None and number.value is not None:
                return number
    return None


def _in_digits(fraction: re.Match[str]) -> str:
    return " " + unicodedata.normalize("NFKC", fraction[1]).replace("\u2044", "/")


def _join_groups(text: str) -> str:
    """Join the groups of thousands that spaces separate, if the text is one such number."""
    if not _SPACED.fullmatch(text):
        return text
    joined = re.sub(r"(?<=\d) (?=\d)", "", text)
    return re.sub(r"(?<=\d),(?=\d)", ".", joined)


def _accounting(text: str) -> tuple[str, bool]:
    """The amount in parentheses, which is negative, if that is all there is."""
    match = _IN_PARENTHESES.fullmatch(text)
    if not match or not _any_number().fullmatch(match["inside"].strip()):
        return text, False
    return (match["before"] or "") + match["inside"].strip() + (match["after"] or ""), True


def _single(text: str, *, negative: bool = False) -> Number | None:
    """The only number in a text, if all digits of the text are part of it."""
    found = _first_two(text)
    if len(found) != 1:
        return None
    match, number = found[0]
    rest = text[: match.start()] + text[match.end() :]
    if any(char.isdigit() for char in rest):
        return None
    if not match["letter"] and _AMBIGUOUS_UNIT.match(text, match.end()):
        return None
    if _means_another(text, match.start(), match.end()):
        return None
    repeated = _REPEATED.match(text, match.end())
    if repeated and number_in_words(repeated[1]) not in (None, number.text):
        return None
    if not negative and _may_be_negative(text[: match.start()], text[match.end() :]):
        return None
    if negative and not number.text.startswith("-"):
        return Number("-" + number.text, number.percent)
    return number


def _means_another(text: str, start: int, end: int) -> bool:
    """Whether the words beside a number say that it is not the one, or one of several."""
    before = text[max(0, start - 40) : start]
    if _NOT_IT.search(before) or text[end : end + 1] == "+" or _PART_AFTER.match(text, end):
        return True
    beside = (_MORE_BEFORE.search(before), _MORE_AFTER.match(text, end))
    return any(has_number_word(match[1]) for match in beside if match)


def _may_be_negative(before: str, after: str) -> bool:
    """Whether a dash apart from a number may be its sign: "- 5", "$ - 5", "-(5)", "5.00-"."""
    if after.strip() and after.strip() in _DASHES:
        return True
    start = before.rstrip().removesuffix("(").rstrip()
    if not start or start[-1] not in _DASHES:
        return False
    start = start[:-1].rstrip()
    start = _ENDS_WITH_CURRENCY.sub("", start[-8:]).rstrip()
    return not start or start[-1] in ":="


def _result(text: str) -> Number | None:
    """The right-hand side of the last equation, if it is a calculation that ends the text."""
    sides = _EQUALS.split(text)
    if len(sides) < 2 or not _CALCULATION.search(sides[-2].rpartition("\n")[2]):
        return None
    found = _first_two(sides[-1])
    if len(found) != 1:
        return None
    match, number = found[0]
    before, after = sides[-1][: match.start()], sides[-1][match.end() :]
    return number if _OPENING.fullmatch(before) and _ENDING.fullmatch(after) else None


def _first_two(text: str) -> list[tuple[re.Match[str], Number]]:
    matches = ((match, _number(match)) for match in _any_number().finditer(text))
    return list(islice(((match, number) for match, number in matches if number), 2))


def _number(match: re.Match[str]) -> Number | None:
    digits = _digits(match)
    if digits is None:
        return None
    negative = bool(match["minus"]) or (match["sign"] or "+")[0] != "+"
    return Number(("-" if negative else "") + digits, bool(match["percent"]))


def _digits(match: re.Match[str]) -> str | None:
    """The number of a match without its sign; None for a division by zero."""
    if match["top"]:
        return _fraction(match)
    if match["european"]:
        digits = match["european"].replace(".", "").replace(",", ".")
    else:
        written = match["grouped"] or match["lakhs"] or match["plain"]
        digits = re.sub(rf"[,_'\u2019{_SPACES}]", "", written)
    digits = _ascii(digits)
    if exponent := match["exponent"] or match["power"]:
        return f"{digits}e{_ascii(exponent)}"
    factor = _factor(match)
    return digits if factor == 1 else _plain(Decimal(digits), factor, len(digits))


def _fraction(match: re.Match[str]) -> str | None:
    if not int(match["bottom"]):
        return None
    value = int(match["whole"] or 0) + Fraction(int(match["top"]), int(match["bottom"]))
    if value.denominator == 1:
        return str(value.numerator)
    exact = Decimal(value.numerator) / Decimal(value.denominator)
    return format(exact, "f") if Fraction(exact) == value else repr(float(value))


def _factor(match: re.Match[str]) -> int:
    words = re.findall("|".join(_FACTORS), (match["words"] or "").lower())
    letter = (match["letter"] or "").strip().lower()[:1]
    return math.prod(_FACTORS[word] for word in words) * _LETTERS.get(letter, 1)


def _plain(value: Decimal, factor: int, digits: int) -> str:
    with localcontext() as context:
        context.prec = digits + len(str(factor))
        product = value * factor
        whole = product.to_integral_value()
        return format(whole if whole == product else product.normalize(), "f")


def _ascii(digits: str) -> str:
    """Write the decimal digits of any script as those of ASCII."""
    if digits.isascii():
        return digits
    return "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in digits)
