"""Examples of DSPy as lmpipe's, and back."""

from __future__ import annotations

import dspy

from lmpipe.data.example import Example


def example_from_dspy(given: dspy.Example) -> Example:
    """Return the same row, with the same inputs if it says which they are."""
    row = Example(**dict(given.items()))
    keys = getattr(given, "_input_keys", None)
    return row if keys is None else row.with_inputs(*(name for name in row if name in keys))


def example_to_dspy(row: Example) -> dspy.Example:
    """Return the same row for DSPy's code."""
    return dspy.Example(**row.values).with_inputs(*row.inputs)
