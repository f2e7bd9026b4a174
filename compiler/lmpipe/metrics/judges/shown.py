"""What a judge is shown: values of an example and a prediction, as inputs of its program."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from pydantic_core import to_json

from lmpipe.data.example import Example
from lmpipe.errors import MetricError
from lmpipe.foundation.shorten import short_repr
from lmpipe.signatures.field_types.parts import has_parts
from lmpipe.signatures.signature import result_to_json

# A path such as `example.question` or `prediction.answer`, or a function of both.
Origin: TypeAlias = str | Callable[[Example, Any], Any]

_ROOTS = ("example", "prediction")


@dataclass(frozen=True)
class Shown:
    """Where an input of a judge's program comes from.

    Args:
        name: the input.
        origin: where its value is.
        as_text: whether the input is a text, so that other values are written as one.
    """

    name: str
    origin: Origin
    as_text: bool

    def __post_init__(self) -> None:
        if callable(self.origin):
            return
        root = self.origin.partition(".")[0] if isinstance(self.origin, str) else ""
        if root not in _ROOTS or self.origin == "example":
            raise MetricError(
                f"input {self.name!r} of a judge is {self.origin!r:.100}: name a field of the "
                'example or the prediction, such as "example.question" or "prediction.answer", or '
                "give a function of both"
            )

    def value(self, example: Example, prediction: Any) -> Any:
        """Return the value of the input.

        Raises:
            MetricError: if there is no such field.
        """
        if callable(self.origin):
            found = self.origin(example, prediction)
        else:
            root, *fields = self.origin.split(".")
            found = example if root == "example" else prediction
            for field in fields:
                found = self._field(found, field)
        return text_of(found) if self.as_text else found

    def _field(self, value: Any, field: str) -> Any:
        if isinstance(value, Mapping | Example):
            if field in value:
                return value[field]
        elif hasattr(value, field):
            return getattr(value, field)
        raise MetricError(
            f"input {self.name!r} of a judge is {self.origin!r}, but {short_repr(value, 200)} has "
            f"no {field!r}"
        )


def text_of(value: Any) -> str:
    """Write a value as the text that a judge reads."""
    if isinstance(value, str):
        return value
    if has_parts(value):
        return "".join(part for part in value.to_parts() if isinstance(part, str))
    if isinstance(value, list | tuple) and value and all(map(_is_text, value)):
        numbered = enumerate(map(text_of, value), start=1)
        return "\n\n".join(f"[{number}] {item}" for number, item in numbered)
    if value is None:
        return ""
    return to_json(result_to_json(value)).decode()


def _is_text(value: Any) -> bool:
    return isinstance(value, str) or has_parts(value)
