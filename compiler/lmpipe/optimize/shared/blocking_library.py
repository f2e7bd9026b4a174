"""Searches that a library does: loaded when wanted, with the engine's steps as its callbacks."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from importlib import import_module
from typing import Any, TypeVar

from lmpipe.errors import ConfigError
from lmpipe.lm.concurrency.loop import in_thread, run_sync

T = TypeVar("T")


def load_library(package: str, *, optimizer: str, extra: str) -> Any:
    """The package that an optimizer stands on.

    Args:
        package: its name.
        optimizer: the optimizer's class, for messages.
        extra: the extra of lmpipe that brings it.

    Raises:
        ConfigError: if it cannot be imported.
    """
    try:
        return import_module(package)
    except ImportError as error:
        raise ConfigError(
            f"the {optimizer} optimizer stands on the {package} package, which cannot be imported "
            f"({error}): pip install 'lmpipe[{extra}]'"
        ) from error


class StepRunner:
    """Runs steps of the engine for blocking code in a thread.

    After a step that failed there is no other one: whatever is asked for then fails in the same
    way. Libraries like to catch errors and to try again; a spent budget and an LM that is away
    are no such errors.
    """

    def __init__(self) -> None:
        self.failure: BaseException | None = None

    def __call__(self, step: Coroutine[Any, Any, T]) -> T:
        """Run a step on the engine's loop and wait for it."""
        if self.failure is not None:
            step.close()
            raise self.failure
        try:
            return run_sync(step)
        except BaseException as error:
            self.failure = error
            raise


async def run_library(function: Callable[[StepRunner], T]) -> T:
    """Run blocking code that calls back into the engine, in a thread and the caller's context.

    If the caller is cancelled, the thread ends at its next step.

    Args:
        function: the code; it does the engine's steps by the `StepRunner` that it is given.

    Raises:
        BaseException: what a step raised, also where the code caught it; else what the code did.
    """
    steps = StepRunner()
    try:
        result = await in_thread(function, steps)
    except Exception as error:
        if steps.failure is None or error is steps.failure:
            raise
        raise steps.failure from error
    if steps.failure is not None:
        raise steps.failure
    return result
