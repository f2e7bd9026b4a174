"""`native`: what lmpipe makes of an object of DSPy that it is given as a program or an example."""

from __future__ import annotations

from typing import Any

import dspy

from lmpipe.integrations.dspy.examples import example_from_dspy
from lmpipe.integrations.dspy.program import from_dspy


def native(value: Any) -> Any:
    """Return a program for a module, and an example for an example; any other object stays."""
    if isinstance(value, dspy.Module):
        return from_dspy(value)
    if isinstance(value, dspy.Example):
        return example_from_dspy(value)
    return value
