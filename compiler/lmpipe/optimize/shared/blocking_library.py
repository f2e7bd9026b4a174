"""Run searches of blocking libraries, which call back into the engine."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from importlib import import_module
from typing import Any, TypeVar

from lmpipe.errors import ConfigError
from lmpipe.lm.concurrency.loop import in_thread, run_sync

T = TypeVar("T")


def load_library(package: str, *, optimizer: str, extra: str) -> Any:
    """Import a package of an extra of lmpipe for an optimizer, or raise a ConfigError."""
    try:
        return import_module(package)
    except ImportError as error:
        raise ConfigError(
            f"the {optimizer} optimizer needs the {package} package, which cannot be imported "
            f"({error}): pip install 'lmpipe[{extra}]'"
        ) from error


class StepRunner:
    """Runs steps of the engine for blocking code in a thread.

    After a failed step, every further step fails with the same error. Libraries tend to catch
    errors and try again, but a spent budget or an unavailable LM must end the search.
    """

    def __init__(self) -> None:
        self.failure: BaseException | None = None

    def __call__(self, step: Coroutine[Any, Any, T]) -> T:
        """Run a step on the engine's loop and wait for its result."""
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

    If the caller is cancelled, the thread ends at its next step. The error of a failed step is
    raised even if the code caught it.
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
