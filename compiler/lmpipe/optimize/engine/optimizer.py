"""The `Optimizer` protocol, and the cost that an optimizer states in advance."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol

from lmpipe.errors import RecipeError
from lmpipe.foundation.checks import check_fields
from lmpipe.foundation.shorten import short_repr
from lmpipe.state.program_state import ProgramState
from lmpipe.weights.settings import TrainingSettings

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from lmpipe.optimize.engine.task import Task

# How much an optimizer tries, if it has presets.
Effort = Literal["light", "medium", "heavy"]

check_settings = partial(check_fields, error=RecipeError)


@dataclass(frozen=True, slots=True)
class Sizes:
    """What an optimizer's cost depends on.

    Args:
        train: the number of training examples.
        val: the number of validation examples.
        predictors: the number of the program's predictors.
        limited: whether the compile has a budget.
        trainer: whether the recipe names what trains weights.
    """

    train: int
    val: int
    predictors: int = 1
    limited: bool = False
    trainer: bool = False


@dataclass(frozen=True, slots=True)
class Cost:
    """The maximum that an optimizer does; racing usually leaves much of it undone.

    Args:
        runs: runs of the program.
        asks: questions to the proposer.
        per_result: how many runs of the program one run of the result needs: the number of
            members of an ensemble, else 1.
        trainings: the settings of each training.
        pools: how often pools of demonstrations are embedded if there is an embedder, each time
            at most one demonstration per training example and predictor.
        layouts: prompt layouts that are tried besides the declared ones; the default ones are of
            one call.
        texts: other texts than demonstrations that are embedded if there is an embedder.
        open_ended: whether the search asks more, of which no maximum is known, until it is done or
            the budget ends.

    Raises:
        RecipeError: if a number is out of range.
    """

    runs: int
    asks: int = 0
    per_result: int = 1
    trainings: tuple[TrainingSettings, ...] = ()
    pools: int = 0
    layouts: tuple[str, ...] = ()
    texts: int = 0
    open_ended: bool = False

    def __post_init__(self) -> None:
        check_settings(self, "runs", "asks", "pools", "texts", minimum=0, integer=True)
        check_settings(self, "per_result", minimum=1, integer=True)

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.runs + other.runs,
            self.asks + other.asks,
            max(self.per_result, other.per_result),
            self.trainings + other.trainings,
            self.pools + other.pools,
            tuple(dict.fromkeys(self.layouts + other.layouts)),
            self.texts + other.texts,
            self.open_ended or other.open_ended,
        )


class Optimizer(Protocol):
    """A search for a better program state."""

    @property
    def name(self) -> str:
        """The name on the command line."""
        ...

    async def optimize(self, task: Task) -> ProgramState:
        """Search, and return the result; scored states remain candidates if this is cut short."""
        ...

    def cost(self, sizes: Sizes) -> Cost:
        """The maximum that `optimize` does in a compile of these sizes."""
        ...

    def settings(self) -> dict[str, Any]:
        """The settings of this optimizer, as JSON."""
        ...


def check_optimizer(owner: str, name: str, value: object, *, named: bool = False) -> None:
    """Check that what a user gave is an optimizer.

    Args:
        owner: what takes the optimizer, such as a class; for the message.
        name: the parameter's name; for the message.
        value: what the user gave.
        named: whether the name of an optimizer would do too.

    Raises:
        RecipeError: if it is not; the message shows what to write.
    """
    if (named and isinstance(value, str)) or (
        not isinstance(value, type) and callable(getattr(value, "optimize", None))
    ):
        return
    if isinstance(value, type):
        needed = f"an instance, such as {value.__name__}()"
    else:
        needed = f"an optimizer{' or its name' * named}, such as lmpipe.RandomSearch()"
    raise RecipeError(f"{owner}({name}={short_repr(value)}): {name} must be {needed}")


class DataclassSettings:
    """Implements `Optimizer.settings` for a dataclass: its fields."""

    def settings(self: DataclassInstance) -> dict[str, Any]:
        fields = asdict(self)
        return {name: list(v) if isinstance(v, tuple) else v for name, v in fields.items()}
