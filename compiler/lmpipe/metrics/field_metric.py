"""`FieldMetric`: a metric that compares named fields of the row and the prediction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from statistics import fmean
from typing import Any, Literal, TypeAlias

from lmpipe.data.example import Example, missing_field
from lmpipe.errors import MetricError
from lmpipe.metrics.score import Score

# Compares the gold value with the predicted one: a value in [0, 1] and feedback about it.
Compare: TypeAlias = Callable[[Any, Any], tuple[float, str]]


@dataclass(frozen=True)
class FieldMetric:
    """Compares `example[field]` with `prediction.field` for each of its fields.

    Args:
        name: the factory that made it.
        fields: the fields of the prediction.
        gold: the row's field, where it has another name than the one field of the prediction.
        compare: compares two values.
        join: whether the score of several fields is the least (`all`) or their mean.
        settings: the factory's other arguments, for the name.
    """

    name: str
    fields: tuple[str, ...]
    gold: str | None
    compare: Compare
    join: Literal["all", "mean"] = "mean"
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        check_fields(self.name, self.fields, self.gold)

    def __call__(self, example: Example, prediction: Any, trace: Any = None) -> Score:
        values, feedback = {}, []
        for name in self.fields:
            gold = gold_value(self, example, self.gold or name)
            predicted = predicted_value(self, prediction, name, only=len(self.fields) == 1)
            values[name], comment = self.compare(gold, predicted)
            feedback.append(f"{name}: {comment}")
        value = min(values.values()) if self.join == "all" else fmean(values.values())
        return Score(value, "; ".join(feedback), values)

    @property
    def __name__(self) -> str:
        return repr(self)

    def __repr__(self) -> str:
        return call_text(self.name, self.fields, self.gold, self.settings)


def check_fields(name: str, fields: tuple[str, ...], gold: str | None) -> None:
    """Raise MetricError unless there are fields, and one only where gold has another name."""
    if not fields or not all(isinstance(field, str) for field in fields):
        raise MetricError(f'{name} needs names of fields, such as {name}("answer"); came {fields}')
    if gold is not None and len(fields) > 1:
        raise MetricError(
            f"{name}: gold={gold!r} goes with one field, came {', '.join(fields)}; "
            "use one metric for each field and mean_of(…)"
        )


def call_text(
    name: str, fields: Iterable[str], gold: str | None, settings: Mapping[str, Any]
) -> str:
    """Spell the call that makes a metric."""
    named = {**({"gold": gold} if gold is not None else {}), **settings}
    return f"{name}({', '.join([*map(repr, fields), *(f'{k}={v!r}' for k, v in named.items())])})"


def gold_value(metric: object, example: Example, name: str) -> Any:
    """Read the gold value from the row.

    Raises:
        MetricError: if the row has no such field.
    """
    if name in example:
        return example[name]
    raise MetricError(
        f"{metric!r}: {missing_field(name, example)}; where the row calls it otherwise, say "
        'gold="…"'
    )


def predicted_value(metric: object, prediction: Any, name: str, *, only: bool) -> Any:
    """Read a field of the prediction: a signature, any object, or a mapping.

    Args:
        metric: the metric that asks, for messages.
        prediction: what the program returned.
        name: the field.
        only: whether the metric reads this field alone; a prediction that is a plain value (a
            typed function may return a text or a list) then is the value of the field.

    Raises:
        MetricError: if there is no such field.
    """
    if isinstance(prediction, Mapping):
        if name in prediction:
            return prediction[name]
    elif _is_plain(prediction):
        if only:
            return prediction
    elif hasattr(prediction, name):
        return getattr(prediction, name)
    raise MetricError(
        f"{metric!r} reads the prediction's field {name!r}; came {shown(prediction)}; name a field "
        "that the program returns"
    )


_PLAIN = (str, bytes, int, float, complex, list, tuple, set, frozenset, Enum)


def _is_plain(value: Any) -> bool:
    named = hasattr(value, "_fields")  # a named tuple has fields to read
    return value is None or (isinstance(value, _PLAIN) and not named)


def shown(value: Any, *, most: int = 200) -> str:
    """Spell a value for feedback, cut where it is long."""
    text = repr(value)
    return text if len(text) <= most else text[: most - 1] + "…"


def verdict(gold: Any, predicted: Any, *, right: bool) -> tuple[float, str]:
    """Make the feedback of a comparison that is either right or wrong."""
    if right:
        return 1.0, f"{shown(predicted)} is correct"
    return 0.0, f"expected {shown(gold)}, got {shown(predicted)}"
