"""What lmpipe takes from other packages in place of its own: programs, examples and optimizers."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from lmpipe.errors import ConfigError

# The modules that turn objects of a package into lmpipe's. They are on a higher floor, and one is
# imported when such an object is met: its package has been imported by then.
_ADAPTERS = {"dspy": "lmpipe.integrations.dspy.native"}


def optimizer_of_package(name: str) -> Any | None:
    """Make an optimizer of another package by its name, such as `dspy.MIPROv2`.

    None if it does not name a known package.

    Raises:
        ConfigError: if the package is not installed.
        RecipeError: if it has no such optimizer.
    """
    package, dot, rest = name.partition(".")
    if not dot or package not in _ADAPTERS:
        return None
    try:
        adapter = import_module(_ADAPTERS[package])
    except ImportError as error:
        raise ConfigError(
            f"the optimizer {name} needs the {package} package, which cannot be imported "
            f"({error}): pip install 'lmpipe[{package}]'"
        ) from error
    return adapter.optimizer_named(rest)


def native(value: Any) -> Any:
    """Return lmpipe's program or example for one of another package; any other value stays."""
    kind = type(value)
    if kind.__module__.startswith(("lmpipe.", "builtins")):
        return value
    for ancestor in kind.__mro__:
        adapter = _ADAPTERS.get(ancestor.__module__.partition(".")[0])
        if adapter is not None:
            return import_module(adapter).native(value)
    return value
