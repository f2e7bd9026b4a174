"""Read a choice, or yes or no, from the words of an LM."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lmpipe.foundation.numbers import only_number

# Only "yes", "no", "true" and "false" are read in a sentence: "Yeah, no" means no.
_TRUE = {"yes", "true", "1", "y", "t", "on", "yeah", "yep", "yup"}
_FALSE = {"no", "false", "0", "n", "f", "off", "nope", "nah"}
_LONGEST_SENTENCE = 200
_NEGATION = re.compile(
    r"\b(?:no|not|non|un|anti|never|neither|nor|without|except|rather|instead|hardly|far from)\b"
    r"|n['\u2019]t\b"
)
_SENTENCE_END = re.compile(r"[.!?]\s+\S")
# Words that sentences have for other reasons than to name a choice.
_COMMON_WORDS = {
    *("all", "an", "and", "any", "both", "for", "in", "is", "it", "no", "none", "not", "of", "on"),
    *("only", "or", "other", "that", "the", "this", "to"),
}
_ANSWER = re.compile(r"[\W_]*(yes|no|true|false)\s?[,.;:!\u2014\u2013-]", re.IGNORECASE)
_IS = re.compile(
    r"(?:(?:so|thus|hence|therefore|yes|no),? )?(?:the )?(?:final |correct )?"
    r"(?:answer|statement|claim|result|value|it|this|that)(?: is:?|'s|:)"
    r"\s+\W{0,3}(yes|no|true|false)",
)
# "Yes and no", "No, yes": both.
_BOTH = re.compile(r"\W*(?:(?:and|or|but|/)\W+)?(?:also )?(?:yes|no|true|false)\W*")
_MISSING = object()


def find_choice(spellings: Mapping[str, Any], text: str) -> tuple[Any] | None:
    """Find the choice that a text names, as a tuple of its value; None if it names none or several.

    Case, quotes and punctuation around it do not matter. The text, or its first line, is a choice;
    or it is one short sentence in which only one choice occurs, and no negation. A choice that is a
    common word, a letter or a number must stand out in a sentence: "No, …", "The answer is B."
    """
    if text in spellings:
        return (spellings[text],)
    if (number := only_number(text)) and number.text in spellings:
        return (spellings[number.text],)
    folded: dict[str, Any] = {}
    for name, value in spellings.items():
        word = fold(name)
        # Choices that differ only in case or punctuation must be spelled exactly.
        same = word not in folded or folded[word] is value or folded[word] == value
        folded[word] = value if same else _MISSING
    first, *others = (fold(line) for line in text.strip().split("\n"))
    for word in (fold(text), first):
        chosen = folded.get(word, _MISSING)
        if chosen is not _MISSING:
            again = (folded.get(line.removeprefix("or "), chosen) for line in others)
            return (chosen,) if all(one == chosen for one in again) else None
    text = text.strip()
    if len(text) > _LONGEST_SENTENCE or "\n" in text or _SENTENCE_END.search(text):
        return None
    letters = {
        name: value for name, value in spellings.items() if len(name) == 1 and name.isalpha()
    }
    opening = fold(re.split(r"[,;:!\u2014]", text, maxsplit=1)[0])
    if opening in _COMMON_WORDS and folded.get(opening, _MISSING) is not _MISSING:
        return (folded[opening],)
    return _letter(letters, text) or _in_sentence(folded, text)


def _letter(letters: Mapping[str, Any], text: str) -> tuple[Any] | None:
    """Find the only capital letter of a sentence that is a choice; "A" and "I" may be words."""
    found = set(re.findall(r"(?<![\w'\u2019])[A-Z](?![\w'\u2019])", text)) & letters.keys()
    if len(found) != 1 or _NEGATION.search(text.casefold()):
        return None
    [letter] = found
    is_word = letter == "I" or (letter == "A" and not re.search(r"\bA\W*$", text))
    return None if is_word else (letters[letter],)


def _in_sentence(folded: Mapping[str, Any], text: str) -> tuple[Any] | None:
    rest, found = _fold_marks(text), []
    words = (word for word in folded if len(word.strip()) > 1 and not word.strip().isdecimal())
    # A long choice first: in "not urgent", "urgent" does not occur.
    for word in sorted(words, key=len, reverse=True):
        pattern = rf"(?<!\w){re.escape(word)}(?!\w)"
        if word not in _COMMON_WORDS and re.search(pattern, rest):
            found.append(folded[word])
            rest = re.sub(pattern, "\n", rest)
    distinct = [value for place, value in enumerate(found) if value not in found[:place]]
    if len(distinct) != 1 or distinct[0] is _MISSING or _NEGATION.search(rest):
        return None
    return (distinct[0],)


def find_truth(text: str) -> bool | None:
    """Find yes or no: a text that is one of their words, that starts with one and a comma, or
    that says "The answer is no." and nothing else.
    """
    word = fold(text)
    if word not in _TRUE | _FALSE:
        word = _truth_in_sentence(text) if len(text) <= _LONGEST_SENTENCE else ""
    return word in _TRUE if word in _TRUE | _FALSE else None


def _truth_in_sentence(text: str) -> str:
    """The word for yes or no in a sentence, or nothing."""
    if answer := _ANSWER.match(text):
        rest = text[answer.end() :].casefold()
        says = _IS.fullmatch(fold(rest))
        word = answer[1].lower()
        differs = says is not None and (says[1] in _TRUE) != (word in _TRUE)
        return "" if differs or _BOTH.fullmatch(rest) else word
    says = _IS.fullmatch(fold(text))
    return says[1] if says else ""


def fold(text: str) -> str:
    """Write a word without case, and without quotes and punctuation around it."""
    return _fold_marks(text.strip(" \t\r\n.,;:!\"'`*()[]\u201c\u201d\u2018\u2019"))


def _fold_marks(text: str) -> str:
    return text.casefold().replace("_", " ").replace("-", " ")
