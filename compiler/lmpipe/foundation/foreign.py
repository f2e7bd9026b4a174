"""Objects of other packages that lmpipe takes in place of its own, such as a DSPy module."""

from __future__ import annotations

from importlib import import_module
from typing import Any

# What turns the objects of a package into lmpipe's. It lies on a higher floor, and is imported
# when such an object is met, of which the package has then been imported already.
_ADAPTERS = {"dspy": "lmpipe.integrations.dspy.native"}


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
