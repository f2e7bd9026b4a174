"""Tell async functions from sync ones."""

from __future__ import annotations

import inspect
from functools import partial


def is_async(function: object) -> bool:
    """Whether a function, or the call of an object, is a coroutine function."""
    while isinstance(function, partial):
        function = function.func
    called = getattr(type(function), "__call__", None)  # noqa: B004 - looks at the class on purpose
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)
