"""What lmpipe makes of objects of DSPy, and of the names of its optimizers."""

from __future__ import annotations

from typing import Any

import dspy

from lmpipe.errors import RecipeError
from lmpipe.integrations.dspy.examples import example_from_dspy
from lmpipe.integrations.dspy.optimizer import DSPyOptimizer
from lmpipe.integrations.dspy.program import from_dspy

# What has to be chosen where DSPy has no default.
_CHOSEN: dict[str, dict[str, Any]] = {"GEPA": {"auto": "light"}}


def native(value: Any) -> Any:
    """Return a program for a module, and an example for an example; any other object stays."""
    is_class = isinstance(value, type) and issubclass(value, dspy.Module)
    if isinstance(value, dspy.Module) or is_class:  # a class is refused there
        return from_dspy(value)
    if isinstance(value, dspy.Example):
        return example_from_dspy(value)
    return value


def optimizer_named(name: str) -> DSPyOptimizer:
    """Make one of DSPy's optimizers with its default settings, and the lightest where it has none.

    Raises:
        RecipeError: if DSPy has no optimizer of this name, or what it learns is not a state.
    """
    kind = getattr(dspy, name, None)
    if not (isinstance(kind, type) and issubclass(kind, dspy.teleprompt.Teleprompter)):
        raise RecipeError(
            f"DSPy has no optimizer {name!r}: write dspy.MIPROv2, dspy.GEPA, dspy.SIMBA, "
            "dspy.COPRO, dspy.BootstrapFewShot or dspy.BootstrapFewShotWithRandomSearch"
        )
    return DSPyOptimizer(kind, **_CHOSEN.get(name, {}))
