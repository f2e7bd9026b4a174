"""`Withheld`: the demonstrations that a call must not be shown, because they hold its answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pydantic

from lmpipe.data.identity import ExampleIdentity, inputs_digest, inputs_key
from lmpipe.signatures.signature_spec import FieldSpec, SignatureSpec
from lmpipe.state.program_state import Demo, to_plain


class Withheld:
    """Finds the demonstrations, by position, that hold the answer to a call.

    Those are the demonstrations with the inputs of the call. While the program runs on an example,
    they are also those that were made from it: that say so, or whose inputs contain its inputs. In
    a program of several steps, a later step's inputs may differ from run to run.

    Attributes:
        inputs: the inputs of each demonstration, as a call would have them.
    """

    def __init__(self, spec: SignatureSpec, demos: Sequence[Demo]) -> None:
        self._demos = demos
        self.inputs = [as_called(spec, demo) for demo in demos]
        self._by_inputs: dict[bytes, list[int]] = {}
        for place, inputs in enumerate(self.inputs):
            self._by_inputs.setdefault(inputs_key(inputs), []).append(place)
        self._by_example: dict[tuple[str, ...], Mapping[str, list[int]]] = {}

    def places(self, inputs: Mapping[str, Any], example: ExampleIdentity | None) -> Sequence[int]:
        """List the positions of those that hold the answer, in order.

        Args:
            inputs: of the call, as JSON values with defaults filled in.
            example: that the program runs on, or None.
        """
        # Without inputs there is nothing to be equal.
        equal = self._by_inputs.get(inputs_key(inputs), []) if inputs else []
        if example is None or not example.key:
            return equal
        of_example = self._of(example)
        return sorted({*equal, *of_example}) if of_example else equal

    def _of(self, example: ExampleIdentity) -> Sequence[int]:
        found = self._by_example.get(example.names)
        if found is None:
            made: dict[str, list[int]] = {}
            for place, demo in enumerate(self._demos):
                for digest in _examples_of(demo, example.names):
                    made.setdefault(digest, []).append(place)
            found = self._by_example[example.names] = made
        return found.get(example.digest, ())


def _examples_of(demo: Demo, names: Sequence[str]) -> Iterator[str]:
    """Yield the digests of the examples, whose inputs have these names, that it may come from."""
    if demo.example is not None:
        yield demo.example
    if all(name in demo.inputs for name in names):
        yield inputs_digest({name: to_plain(demo.inputs[name]) for name in names})


def as_called(spec: SignatureSpec, demo: Demo) -> dict[str, Any]:
    """Return a demonstration's inputs as a call would have them, with defaults filled in."""
    values: dict[str, Any] = {}
    for field in spec.inputs:
        if field.name in demo.inputs:
            values[field.name] = _value(field, to_plain(demo.inputs[field.name]))
        elif not field.required:
            values[field.name] = field.dump(field.default())
    return values


def _value(field: FieldSpec, value: Any) -> Any:
    try:
        return field.dump(field.typed(value))
    except pydantic.ValidationError:
        return value  # no call can have this value, but it can be shown
