"""`ExampleIdentity`: which example a row is. Rows with the same inputs are the same example."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from lmpipe.data.example import Example, jsonable
from lmpipe.errors import DataError
from lmpipe.foundation.canonical_json import canonical_json
from lmpipe.foundation.media import by_content

_DIGITS = 16


@dataclass(frozen=True, eq=False)
class ExampleIdentity:
    """The identity of an example: its inputs, and nothing else.

    Every row of an evaluation has one, so its key and digest are computed only when they are read.

    Args:
        inputs: the inputs as JSON values by name; none if one cannot be written as JSON.
    """

    inputs: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def of(example: Example) -> ExampleIdentity:
        """Identify an example."""
        try:
            inputs = {
                name: value if type(value) is str else jsonable(value)
                for name, value in example.inputs.items()
            }
        except DataError:
            return ExampleIdentity()
        return ExampleIdentity(inputs)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the inputs."""
        return tuple(self.inputs)

    @cached_property
    def key(self) -> bytes:
        """The inputs with their names, as `inputs_key` writes them; empty if there are none."""
        return inputs_key(self.inputs) if self.inputs else b""

    @property
    def digest(self) -> str:
        """The hash of the inputs, as `inputs_digest` computes it; empty if there are none."""
        return _digest(self.key) if self.key else ""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ExampleIdentity) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


def inputs_digest(inputs: Mapping[str, Any]) -> str:
    """Hash inputs, given as JSON values by name: 16 hexadecimal digits."""
    return _digest(inputs_key(inputs))


def _digest(key: bytes) -> str:
    return hashlib.sha256(key).hexdigest()[:_DIGITS]


def inputs_key(inputs: Mapping[str, Any]) -> bytes:
    """Write inputs, given as JSON values by name, so that equal ones have the same bytes.

    Media are equal if their bytes are, whatever their names are.
    """
    inputs = {
        name: value if type(value) is str else by_content(value) for name, value in inputs.items()
    }
    try:
        return canonical_json(inputs)
    except TypeError:  # an integer of more than 64 bits, or text that is not valid Unicode
        return repr(sorted(inputs.items())).encode(errors="backslashreplace")
