"""`FieldMetric`: a metric that compares named fields of the example and the prediction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from statistics import fmean
from typing import Any, Literal, TypeAlias

from lmpipe.data.example import Example, missing_field
from lmpipe.errors import MetricError
from lmpipe.foundation.shorten import short_repr
from lmpipe.metrics.score import Score

# Takes the gold value and the predicted one; returns a score in [0, 1] and feedback.
Compare: TypeAlias = Callable[[Any, Any], tuple[float, str]]


@dataclass(frozen=True)
class FieldMetric:
    """Compares `example[field]` with `prediction.field` for each of its fields.

    Args:
        name: the factory that made it.
        fields: the fields of the prediction.
        gold: the example's field, if its name differs from that of the one predicted field.
        compare: compares two values.
        join: whether the score of several fields is their minimum (`all`) or their mean.
        settings: the factory's other arguments, for the metric's name.
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
    """Check the arguments of a factory.

    Raises:
        MetricError: if there are no fields, or several with one name for the gold field.
    """
    if not fields or not all(isinstance(field, str) for field in fields):
        raise MetricError(f'{name} needs names of fields, such as {name}("answer"); got {fields}')
    if gold is not None and len(fields) > 1:
        raise MetricError(
            f"{name}: gold={gold!r} needs exactly one field, got {', '.join(fields)}; "
            "use one metric for each field and mean_of(…)"
        )


def call_text(
    name: str, fields: Iterable[str], gold: str | None, settings: Mapping[str, Any]
) -> str:
    """Return the call that makes a metric, as Python source."""
    named = {**({"gold": gold} if gold is not None else {}), **settings}
    return f"{name}({', '.join([*map(repr, fields), *(f'{k}={v!r}' for k, v in named.items())])})"


def gold_value(metric: object, example: Example, name: str) -> Any:
    """Read the gold value from an example.

    Raises:
        MetricError: if the example has no such field.
    """
    if name in example:
        return example[name]
    raise MetricError(
        f"{metric!r}: {missing_field(name, example)}; if the gold value has another name, set "
        'gold="…"'
    )


def predicted_value(metric: object, prediction: Any, name: str, *, only: bool) -> Any:
    """Read a field of a prediction, which is a signature, another object, or a mapping.

    Args:
        metric: the metric, for messages.
        prediction: what the program returned.
        name: the field.
        only: whether the metric reads no other field. A prediction that is a plain value (a typed
            function may return a text or a list) then is the value of the field.

    Raises:
        MetricError: if the prediction has no such field.
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
        f"{metric!r} reads the prediction's field {name!r}, got {short_repr(prediction)}; name a "
        "field that the program returns"
    )


_PLAIN = (str, bytes, int, float, complex, list, tuple, set, frozenset, Enum)


def _is_plain(value: Any) -> bool:
    named = hasattr(value, "_fields")  # a named tuple, whose fields can be read
    return value is None or (isinstance(value, _PLAIN) and not named)


def verdict(gold: Any, predicted: Any, *, right: bool) -> tuple[float, str]:
    """Return the score and the feedback of a comparison that is either right or wrong."""
    if right:
        return 1.0, f"{short_repr(predicted)} is correct"
    return 0.0, f"expected {short_repr(gold)}, got {short_repr(predicted)}"
