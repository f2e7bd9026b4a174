"""Subclasses of the classes of DSPy's objects, whose objects do more when they run."""

from __future__ import annotations

import types
from functools import lru_cache
from typing import Any


@lru_cache(maxsize=1024)
def subclass_with(mixin: Any, kind: Any) -> Any:
    """Make the subclass of a class whose methods are first those of the mixin.

    It has the name of the class: programs may look at it.
    """
    namespace = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    return types.new_class(
        kind.__name__, (mixin, kind), exec_body=lambda body: body.update(namespace)
    )
