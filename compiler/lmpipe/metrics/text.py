"""Metrics for text: normalized match, token F1, containment."""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable
from typing import Any

from lmpipe.data.example import jsonable
from lmpipe.foundation.shorten import short_repr
from lmpipe.metrics.field_metric import FieldMetric, verdict

_ARTICLES = frozenset(("a", "an", "the"))
# Punctuation that is part of a number: the point in 3.5, the sign of -5.
_NUMBER_MARK = re.compile(r"(?<=\d)\.(?=\d)|(?<!\w)-(?=\d)")


def normalize_text(text: str) -> str:
    """Normalize an answer as SQuAD does: lower case, no punctuation, no articles, single spaces.

    There are three differences from SQuAD, which would otherwise accept wrong answers: the decimal
    point and the sign of a number are kept ("3.5" is not "35"); an answer that is only an article
    or punctuation is kept ("A" of a multiple choice is not ""); and Unicode's compatibility forms
    and punctuation are treated like those of ASCII.
    """
    folded = unicodedata.normalize("NFKC", text).casefold().replace("\u2212", "-")
    marks = {match.start() for match in _NUMBER_MARK.finditer(folded)}
    kept = "".join(
        char for place, char in enumerate(folded) if place in marks or not _is_punctuation(char)
    )
    words = kept.split()
    rest = [word for word in words if word not in _ARTICLES]
    return " ".join(rest or words or folded.split())


def normalized_match(*fields: str, gold: str | None = None) -> FieldMetric:
    """Score 1 if the normalized texts of all fields are equal.

    If the gold value is a list and the prediction a text, it may equal any item of the list.

    Args:
        fields: the fields to compare.
        gold: the example's field, if it has another name.
    """
    return FieldMetric("normalized_match", fields, gold, _compare_normalized, "all")


def token_f1(*fields: str, gold: str | None = None) -> FieldMetric:
    """Score the overlap of normalized words: F1 of precision and recall, as in SQuAD.

    If the gold value is a list and the prediction a text, the best item counts. The score of
    several fields is their mean.

    Args:
        fields: the fields to compare.
        gold: the example's field, if it has another name.
    """
    return FieldMetric("token_f1", fields, gold, _compare_tokens)


def contains(*fields: str, gold: str | None = None) -> FieldMetric:
    """Score 1 if the normalized prediction contains the gold text as whole words.

    If the gold value is a list, the prediction may contain any item of it.

    Args:
        fields: the fields to compare.
        gold: the example's field, if it has another name.
    """
    return FieldMetric("contains", fields, gold, _compare_containment, "all")


def as_text(value: Any) -> str:
    """Convert a JSON value to text: null is empty, items are joined by a space."""
    if value is None:
        return ""
    if isinstance(value, list):
        return " ".join(map(as_text, value))
    return str(value)


def _is_punctuation(char: str) -> bool:
    return char in string.punctuation or unicodedata.category(char).startswith("P")


def _best(gold: Any, predicted: Any, score: Callable[[str, str], float]) -> tuple[float, Any, Any]:
    gold, predicted = jsonable(gold), jsonable(predicted)
    several = isinstance(gold, list) and gold and not isinstance(predicted, list)
    candidates = gold if several else [gold]
    values = [
        float(one is predicted)
        if one is None or predicted is None
        else score(normalize_text(as_text(one)), normalize_text(as_text(predicted)))
        for one in candidates
    ]
    return max(values), gold, predicted


def _compare_normalized(gold: Any, predicted: Any) -> tuple[float, str]:
    value, gold, predicted = _best(gold, predicted, lambda one, other: float(one == other))
    return verdict(gold, predicted, right=value == 1)


def _compare_containment(gold: Any, predicted: Any) -> tuple[float, str]:
    value, gold, predicted = _best(gold, predicted, _contained)
    if value == 1:
        return verdict(gold, predicted, right=True)
    return 0.0, f"expected a text that contains {short_repr(gold)}, got {short_repr(predicted)}"


def _contained(gold: str, predicted: str) -> float:
    return float(f" {gold} " in f" {predicted} " if gold else not predicted)


def _compare_tokens(gold: Any, predicted: Any) -> tuple[float, str]:
    value, gold, predicted = _best(gold, predicted, _f1)
    if value == 1:
        return verdict(gold, predicted, right=True)
    return value, f"expected {short_repr(gold)}, got {short_repr(predicted)} (token F1 {value:.2f})"


def _f1(gold: str, predicted: str) -> float:
    return multiset_f1(Counter(gold.split()), Counter(predicted.split()))


def multiset_f1(gold: Counter[str], predicted: Counter[str]) -> float:
    """Return the F1 of two multisets; 1 if both are empty."""
    total = gold.total() + predicted.total()
    return 2 * (gold & predicted).total() / total if total else 1.0
