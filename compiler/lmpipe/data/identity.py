"""`ExampleIdentity`: which example a row is. Rows with the same inputs are the same example."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lmpipe.data.example import Example, jsonable
from lmpipe.errors import DataError
from lmpipe.foundation.canonical_json import canonical_json

_DIGITS = 16


@dataclass(frozen=True, slots=True)
class ExampleIdentity:
    """The identity of an example: its inputs, and nothing else.

    Args:
        digest: the hash of the inputs with their names; see `inputs_digest`. It is empty if there
            are no inputs, or some that cannot be written as JSON.
        names: the names of the inputs, sorted; none if the digest is empty.
    """

    digest: str = ""
    names: tuple[str, ...] = ()

    @staticmethod
    def of(example: Example) -> ExampleIdentity:
        """Identify an example."""
        try:
            inputs = {name: jsonable(value) for name, value in example.inputs.items()}
        except DataError:
            return ExampleIdentity()
        if not inputs:
            return ExampleIdentity()
        return ExampleIdentity(inputs_digest(inputs), tuple(sorted(inputs)))


def inputs_digest(inputs: Mapping[str, Any]) -> str:
    """Hash inputs, given as JSON values by name: 16 hexadecimal digits."""
    return hashlib.sha256(inputs_key(inputs)).hexdigest()[:_DIGITS]


def inputs_key(inputs: Mapping[str, Any]) -> bytes:
    """Write inputs, given as JSON values by name, so that equal ones have the same bytes."""
    try:
        return canonical_json(inputs)
    except TypeError:  # an integer of more than 64 bits, or text that is not valid Unicode
        return repr(sorted(inputs.items())).encode(errors="backslashreplace")
