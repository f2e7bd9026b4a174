"""Derive a blocking function from a coroutine function, with the same parameters and docstring."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from lmpipe.lm.concurrency import loop

P = ParamSpec("P")
T = TypeVar("T")


def blocking(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Make a function that runs a coroutine function on lmpipe's loop and waits for its result.

    The name drops its leading `a`: `evaluate = blocking(aevaluate)`.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        return loop.run_sync(function(*args, **kwargs))

    call.__name__ = call.__qualname__ = function.__name__.removeprefix("a")
    return call
