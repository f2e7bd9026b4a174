"""Turn a judge's typed verdicts into scores."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

from lmpipe.errors import MetricError
from lmpipe.foundation.checks import check_number
from lmpipe.foundation.shorten import short_repr
from lmpipe.signatures.signature_spec import FieldSpec


@dataclass(frozen=True)
class Verdict:
    """An output of a judge's program, and how many points each value gives.

    Args:
        name: the output.
        points: the points of each value, from 0 to 1; empty for booleans and numbers.
        low: the number that gives 0 points.
        high: the number that gives 1 point.
    """

    name: str
    points: Mapping[Any, float] = field(default_factory=dict, hash=False)
    low: float = 0.0
    high: float = 1.0

    @staticmethod
    def of(name: str, spec: FieldSpec | None, points: Mapping[Any, float]) -> Verdict:
        """Make the verdict of an output, whose type is not known if `spec` is None.

        Raises:
            MetricError: if the type needs points and a value has none, or a number is out of range.
        """
        for value, given in points.items():
            owner = f"points of {name}"
            check_number(owner, repr(value), given, minimum=0, maximum=1, error=MetricError)
        if spec is None:
            return Verdict(name, points)
        choices = list(_choices(spec.annotation))
        if choices and not all(isinstance(choice, bool) for choice in choices):
            _check_points(name, choices, points)
            return Verdict(name, points)
        if not points and not choices and spec.shape.kind not in ("boolean", "integer", "number"):
            raise MetricError(
                f"the verdict {name} is {spec.shape.hint()}, which is no score: declare it as a "
                "boolean, a number, or a Literal with points="
            )
        low, high = _bounds(spec, "ge", 0.0), _bounds(spec, "le", 1.0)
        if not low < high:
            raise MetricError(f"{name}: its numbers are from {low:g} to {high:g}; give points=")
        return Verdict(name, points, low, high)

    def score(self, value: Any) -> float:
        """Return the points of a value.

        Raises:
            MetricError: if it has none.
        """
        for known in (value, value.value if isinstance(value, Enum) else value):
            if isinstance(known, str | int | float | Enum) and known in self.points:
                return self.points[known]
        if isinstance(value, bool):
            return float(value)
        if isinstance(value, int | float) and self.low <= value <= self.high:
            return (value - self.low) / (self.high - self.low)
        expected = f"from {self.low:g} to {self.high:g}; Output(ge=…, le=…) declares other bounds"
        if self.points:
            expected = "one of " + ", ".join(map(repr, self.points))
        raise MetricError(
            f"the judge's {self.name} is {short_repr(value, 100)}, which has no points; expected "
            f"{expected}"
        )


def _choices(annotation: Any) -> Iterable[Any]:
    """The values of a Literal or an enumeration."""
    if typing.get_origin(annotation) is Literal:
        return typing.get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return list(annotation)
    return []


def _check_points(name: str, choices: Iterable[Any], points: Mapping[Any, float]) -> None:
    spelled = [item.value if isinstance(item, Enum) else item for item in choices]
    missing = [
        value
        for value, item in zip(spelled, choices, strict=True)
        if value not in points and item not in points
    ]
    if missing:
        example = ", ".join(f"{value!r}: …" for value in spelled)
        raise MetricError(
            f"the verdict {name} has no points for {', '.join(map(repr, missing))}: give "
            f"points={{{example}}} with numbers from 0 to 1"
        )


def _bounds(spec: FieldSpec, name: str, default: float) -> float:
    """The bound that a field declares, such as `ge`."""
    found = [getattr(item, name) for item in spec.info.metadata if hasattr(item, name)]
    return float(found[0]) if found else default
