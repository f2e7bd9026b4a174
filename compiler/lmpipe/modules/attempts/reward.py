"""`Reward`: what the predictions of attempts are compared by."""

from __future__ import annotations

import inspect
import math
import textwrap
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeAlias, TypeVar

from lmpipe.data.example import Example
from lmpipe.errors import ConfigError, MetricError
from lmpipe.foundation.checks import check_number
from lmpipe.foundation.shorten import short_repr
from lmpipe.lm.concurrency import loop
from lmpipe.modules.module import Module


class Scored(Protocol):
    """A score with feedback in words, such as a `lmpipe.Score`."""

    @property
    def value(self) -> float: ...

    @property
    def feedback(self) -> str: ...


R = TypeVar("R")

Result: TypeAlias = float | Scored  # a bool is a number too

# A function of the inputs, which are an `Example`, and the prediction. It declares the inputs as
# it likes: they can be read like a dict and by attribute.
Reward: TypeAlias = Callable[[Any, R], Result | Awaitable[Result]]


def check_reward(owner: str, reward: Any) -> None:
    """Check that a reward can be called with the inputs and a prediction.

    Raises:
        ConfigError: if it cannot.
        MetricError: if its `max_calls` is not a whole number of 0 or more.
    """
    called = getattr(reward, "forward", None) if isinstance(reward, Module) else reward
    problem = "" if callable(called) else "it cannot be called"
    if callable(called):
        try:
            inspect.signature(called).bind(None, None)
        except TypeError as error:
            problem = str(error)
        except ValueError:  # some callables written in C have no signature
            pass
    if problem:
        raise ConfigError(
            f"{owner}(reward={short_repr(reward, 100)}): a reward takes (inputs, prediction), as a "
            f"metric takes (example, prediction): {problem}"
        )
    declared = reward_calls(reward)
    check_number(
        reward_name(reward), "max_calls", declared, minimum=0, integer=True, error=MetricError
    )


def reward_name(reward: Any) -> str:
    """The name of a reward, for messages."""
    return str(getattr(reward, "__name__", type(reward).__name__))


def reward_calls(reward: Any) -> int:
    """The LM calls that a function declares, by `@lmpipe.metrics.judge`; a program is counted."""
    declared = None if isinstance(reward, Module) else getattr(reward, "max_calls", None)
    return 0 if declared is None else declared


def reward_source(reward: Any) -> str:
    """The code of a reward, or its docstring if the code is not known; it may be empty."""
    described = type(reward) if isinstance(reward, Module) else reward
    try:
        return textwrap.dedent(inspect.getsource(described)).strip()
    except (OSError, TypeError):
        return inspect.getdoc(described) or ""


async def score(reward: Any, inputs: Example, prediction: Any) -> tuple[float, str]:
    """Score a prediction: the reward and the feedback, which may be empty.

    Raises:
        MetricError: if the reward is not a number.
    """
    if isinstance(reward, Module):
        result: Any = await reward._acall(inputs, prediction)
    else:
        result = await loop.call(reward, inputs, prediction)
    number = _as_number(getattr(result, "value", result))
    if number is None:
        raise MetricError(
            f"the reward {reward_name(reward)!r} returned {short_repr(result)}; expected True, "
            "False, a number or a Score; return one of these on every code path"
        )
    return number, str(getattr(result, "feedback", ""))


def _as_number(value: Any) -> float | None:
    if isinstance(value, str | bytes):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return None if math.isnan(number) else number
