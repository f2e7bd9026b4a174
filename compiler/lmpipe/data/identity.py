"""`ExampleIdentity`: which example a row is. Rows with the same inputs are the same example."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lmpipe.data.example import Example, jsonable
from lmpipe.errors import DataError
from lmpipe.foundation.canonical_json import canonical_json

_DIGITS = 16


@dataclass(frozen=True, slots=True)
class ExampleIdentity:
    """The identity of an example: its inputs, and nothing else.

    Every row of an evaluation has one, so the hash is only computed where it is needed.

    Args:
        key: the inputs with their names, as `inputs_key` writes them; empty if there are none, or
            some that cannot be written as JSON.
        names: the names of the inputs; none if the key is empty.
    """

    key: bytes = b""
    names: tuple[str, ...] = field(default=(), compare=False)

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
        return ExampleIdentity(inputs_key(inputs), tuple(inputs)) if inputs else ExampleIdentity()

    @property
    def digest(self) -> str:
        """The hash of the inputs, as `inputs_digest` computes it; empty if the key is."""
        return _digest(self.key) if self.key else ""


def inputs_digest(inputs: Mapping[str, Any]) -> str:
    """Hash inputs, given as JSON values by name: 16 hexadecimal digits."""
    return _digest(inputs_key(inputs))


def _digest(key: bytes) -> str:
    return hashlib.sha256(key).hexdigest()[:_DIGITS]


def inputs_key(inputs: Mapping[str, Any]) -> bytes:
    """Write inputs, given as JSON values by name, so that equal ones have the same bytes."""
    try:
        return canonical_json(inputs)
    except TypeError:  # an integer of more than 64 bits, or text that is not valid Unicode
        return repr(sorted(inputs.items())).encode(errors="backslashreplace")
