"""`FieldMetric`: a metric that compares named fields of the example and the prediction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from statistics import fmean
from typing import Any, Literal, TypeAlias

from lmpipe.data.example import Example, missing_field
from lmpipe.errors import MetricError
from lmpipe.foundation.shorten import short_repr
from lmpipe.metrics.score import Score
from lmpipe.metrics.typed_gold import typed_like

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

    Raises:
        MetricError: if no field is named, or `gold` is given for several fields.
    """

    name: str
    fields: tuple[str, ...]
    gold: str | None
    compare: Compare
    join: Literal["all", "mean"] = "mean"
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if not self.fields or not all(isinstance(field, str) for field in self.fields):
            raise MetricError(
                f'{self.name} needs names of fields, such as {self.name}("answer"); '
                f"got {short_repr(self.fields, 100)}"
            )
        if self.gold is not None and len(self.fields) > 1:
            raise MetricError(
                f"{self.name}: gold={self.gold!r} needs exactly one field, got "
                f"{', '.join(self.fields)}; use one metric for each field and mean_of(…)"
            )

    def __call__(self, example: Example, prediction: Any, trace: Any = None) -> Score:
        values, feedback = {}, []
        for name, gold, predicted in self.pairs(example, prediction):
            values[name], comment = self.compare(gold, predicted)
            feedback.append(f"{name}: {comment}")
        value = min(values.values()) if self.join == "all" else fmean(values.values())
        return Score(value, "; ".join(feedback), values)

    def pairs(self, example: Example, prediction: Any) -> Iterator[tuple[str, Any, Any]]:
        """Yield the name of each field, its gold value and its predicted value.

        A gold value that is JSON gets the type of the prediction, if it is valid for it.
        """
        for name in self.fields:
            gold = self.gold or name
            if gold not in example:
                raise MetricError(
                    f"{self!r}: {missing_field(gold, example)}; if the gold value has another "
                    'name, set gold="…"'
                )
            predicted = self._predicted(prediction, name)
            yield name, typed_like(example[gold], predicted), predicted

    def _predicted(self, prediction: Any, name: str) -> Any:
        """Read a field of a prediction: a signature, another object, a mapping, or a value."""
        if isinstance(prediction, Mapping):
            if name in prediction:
                return prediction[name]
        elif _is_plain(prediction):
            # A typed function may return a text or a list: the value of the only field.
            if len(self.fields) == 1:
                return prediction
        elif hasattr(prediction, name):
            return getattr(prediction, name)
        raise MetricError(
            f"{self!r} reads the prediction's field {name!r}, got {short_repr(prediction)}; name "
            "a field that the program returns"
        )

    @property
    def __name__(self) -> str:
        return repr(self)

    def __repr__(self) -> str:
        named = {**({"gold": self.gold} if self.gold is not None else {}), **self.settings}
        arguments = [*map(repr, self.fields), *(f"{k}={v!r}" for k, v in named.items())]
        return f"{self.name}({', '.join(arguments)})"


_PLAIN = (str, bytes, int, float, complex, list, tuple, set, frozenset, Enum)


def _is_plain(value: Any) -> bool:
    named = hasattr(value, "_fields")  # a named tuple, whose fields can be read
    return value is None or (isinstance(value, _PLAIN) and not named)


def verdict(gold: Any, predicted: Any, *, right: bool) -> tuple[float, str]:
    """Return the score and the feedback of a comparison that is either right or wrong."""
    if right:
        return 1.0, f"{short_repr(predicted)} is correct"
    return 0.0, f"expected {short_repr(gold)}, got {short_repr(predicted)}"
