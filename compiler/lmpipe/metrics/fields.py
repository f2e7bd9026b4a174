"""Metrics for typed fields: exact match, F1 of sets, and the share of correct leaf fields."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from lmpipe.data.example import Example, jsonable
from lmpipe.foundation.canonical_json import canonical_json
from lmpipe.foundation.shorten import short_repr
from lmpipe.metrics.field_metric import FieldMetric, verdict
from lmpipe.metrics.score import Score
from lmpipe.metrics.text import multiset_f1, normalize_text

_SEPARATOR = re.compile(r"[,;\n]")
_TRUTH = {"true": True, "false": False}


def exact_match(*fields: str, gold: str | None = None) -> FieldMetric:
    """Score 1 if all fields are equal.

    Enums, dates and models are compared as JSON, as they are in a data file; a gold model may have
    its fields' names or aliases as keys. A gold text, which is all that a CSV has, equals the
    number or boolean that it spells. If the gold value is a list and the prediction is not, the
    prediction may equal any item of the list.

    Args:
        fields: the fields to compare.
        gold: the example's field, if it has another name.
    """
    return FieldMetric("exact_match", fields, gold, _compare_exactly, "all")


def set_f1(*fields: str, gold: str | None = None) -> FieldMetric:
    """Score the overlap of two lists regardless of their order: F1 of precision and recall.

    Items are normalized, and repeated items count repeatedly. A text is split into items at
    commas, semicolons and line ends. The score of several fields is their mean.

    Args:
        fields: the fields to compare.
        gold: the example's field, if it has another name.
    """
    return FieldMetric("set_f1", fields, gold, _compare_sets)


def field_accuracy(*fields: str, gold: str | None = None) -> FieldAccuracy:
    """Score the share of fields that are correct.

    Models, mappings and lists are compared leaf by leaf, lists by position; a leaf that is missing
    on one side is null there. Null equals null, texts are normalized, and numbers may differ by
    one part in a million.

    Args:
        fields: the fields to compare.
        gold: the example's field, if it has another name.
    """
    return FieldAccuracy("field_accuracy", fields, gold, _compare_leaf)


@dataclass(frozen=True, repr=False)
class FieldAccuracy(FieldMetric):
    """The share of leaf fields that are correct; made by `field_accuracy`."""

    def __call__(self, example: Example, prediction: Any, trace: Any = None) -> Score:
        parts: dict[str, float] = {}
        wrong = []
        for name, gold, predicted in self.pairs(example, prediction):
            for path, expected, got in _leaves(name, jsonable(gold), jsonable(predicted)):
                parts[path], comment = self.compare(expected, got)
                if not parts[path]:
                    wrong.append(f"{path}: {comment}")
        right = int(sum(parts.values()))
        feedback = "; ".join([f"{right} of {len(parts)} fields are correct", *wrong])
        return Score(right / len(parts), feedback, parts)


def _compare_exactly(gold: Any, predicted: Any) -> tuple[float, str]:
    gold, predicted = jsonable(gold), jsonable(predicted)
    several = isinstance(gold, list) and not isinstance(predicted, list)
    right = any(_same(one, predicted) for one in gold) if several else _same(gold, predicted)
    return verdict(gold, predicted, right=right)


def _same(gold: Any, predicted: Any) -> bool:
    if isinstance(gold, str) and isinstance(predicted, bool | int | float):
        return _same(_parse_scalar(gold), predicted)
    if isinstance(gold, dict) and isinstance(predicted, dict):
        return gold.keys() == predicted.keys() and all(_same(gold[k], predicted[k]) for k in gold)
    if isinstance(gold, list) and isinstance(predicted, list):
        return len(gold) == len(predicted) and all(map(_same, gold, predicted))
    return isinstance(gold, bool) == isinstance(predicted, bool) and bool(gold == predicted)


def _parse_scalar(text: str) -> bool | float | int | None:
    """Parse the boolean or number that a text spells; None if it spells neither."""
    word = text.strip().lower().replace(",", "")
    if word in _TRUTH:
        return _TRUTH[word]
    with suppress(ValueError):
        return int(word)
    with suppress(ValueError):
        number = float(word)
        return number if math.isfinite(number) else None
    return None


def _compare_sets(gold: Any, predicted: Any) -> tuple[float, str]:
    gold, predicted = jsonable(gold), jsonable(predicted)
    expected, got = Counter(_items(gold)), Counter(_items(predicted))
    value = multiset_f1(expected, got)
    if value == 1:
        return verdict(gold, predicted, right=True)
    missing, surplus = sorted((expected - got).elements()), sorted((got - expected).elements())
    differences = [
        f"{what} {short_repr(items)}"
        for what, items in (("missing", missing), ("surplus", surplus))
        if items
    ]
    return value, f"{', '.join(differences)} (F1 {value:.2f})"


def _items(value: Any) -> list[str]:
    if value is None:
        return []
    if isinstance(value, str):
        return [normalize_text(item) for item in _SEPARATOR.split(value) if item.strip()]
    if isinstance(value, list):
        return [_item(item) for item in value]
    return [_item(value)]


def _item(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, dict | list):
        return canonical_json(value).decode()
    return normalize_text(str(value))


def _leaves(path: str, gold: Any, predicted: Any) -> Iterator[tuple[str, Any, Any]]:
    """Walk two values together; yield the path of each leaf and its two values."""
    kinds = {type(side) for side in (gold, predicted) if side is not None}
    if kinds == {dict}:
        gold, predicted = gold or {}, predicted or {}
        steps: list[tuple[str, Any]] = [
            (f".{key}", key) for key in dict.fromkeys([*gold, *predicted])
        ]
    elif kinds == {list}:
        gold, predicted = dict(enumerate(gold or [])), dict(enumerate(predicted or []))
        steps = [(f"[{place}]", place) for place in range(max(len(gold), len(predicted)))]
    else:
        yield path, gold, predicted
        return
    if not steps:  # empty on both sides counts as one correct leaf
        yield path, None, None
    for step, key in steps:
        yield from _leaves(path + step, gold.get(key), predicted.get(key))


def _compare_leaf(gold: Any, predicted: Any) -> tuple[float, str]:
    return verdict(gold, predicted, right=_same_leaf(gold, predicted))


def _same_leaf(gold: Any, predicted: Any) -> bool:
    if isinstance(gold, str) and isinstance(predicted, str):
        return normalize_text(gold) == normalize_text(predicted)
    if isinstance(gold, str) and isinstance(predicted, bool | int | float):
        gold = _parse_scalar(gold)
    if isinstance(predicted, str) and isinstance(gold, bool | int | float):
        predicted = _parse_scalar(predicted)
    if isinstance(gold, bool) or isinstance(predicted, bool):
        return gold is predicted
    if isinstance(gold, int | float) and isinstance(predicted, int | float):
        return gold == predicted or _is_close(gold, predicted)
    return bool(gold == predicted)


def _is_close(gold: float, predicted: float) -> bool:
    try:
        return math.isclose(gold, predicted, rel_tol=1e-6, abs_tol=1e-9)
    except OverflowError:  # of integers that exceed the largest float
        return False
