"""What an optimizer is, and what it says of its cost beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from lmpipe.state.program_state import ProgramState
from lmpipe.weights.settings import TrainingSettings

if TYPE_CHECKING:
    from lmpipe.optimize.engine.task import Task


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much an optimizer has to work with.

    Args:
        train: training examples.
        val: validation examples.
        predictors: predictors of the program.
    """

    train: int
    val: int
    predictors: int = 1


@dataclass(frozen=True, slots=True)
class Cost:
    """The most that an optimizer does; racing mostly leaves much of it undone.

    Args:
        runs: runs of the program.
        asks: questions to the proposer.
        per_result: what one run of the result comes to, in runs of the program: the members of an
            ensemble.
        trainings: how adapters are trained, once for each.
        pools: how often it has pools embedded, if there is an embedder, each time of at most one
            demonstration for each training example and predictor.
    """

    runs: int
    asks: int = 0
    per_result: int = 1
    trainings: tuple[TrainingSettings, ...] = ()
    pools: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.runs + other.runs,
            self.asks + other.asks,
            max(self.per_result, other.per_result),
            self.trainings + other.trainings,
            self.pools + other.pools,
        )


class Optimizer(Protocol):
    """A way to search for a better state."""

    @property
    def name(self) -> str:
        """What the command line calls it."""
        ...

    async def optimize(self, task: Task) -> ProgramState:
        """Search; whatever was scored on the way stays a candidate if this is cut short."""
        ...

    def cost(self, sizes: Sizes) -> Cost:
        """The most that `optimize` does."""
        ...

    def settings(self) -> dict[str, Any]:
        """What it was made with, as JSON."""
        ...
