"""`Ensemble`: the best candidates of a search, voting."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from lmpipe.errors import RecipeError
from lmpipe.foundation.checks import check_choice
from lmpipe.modules.voting import REDUCERS
from lmpipe.optimize.engine.optimizer import (
    Cost,
    Optimizer,
    Sizes,
    check_optimizer,
    check_settings,
)
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.random_search import RandomSearch
from lmpipe.state.program_state import ProgramState, ensemble_state


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """Search, then let the best candidates answer together by vote.

    The result is one state whose members all run on the same inputs, and a reduce function makes
    one prediction of theirs. It is only kept if it beats its best member on validation.

    Source: arXiv 2310.03714, section 4 (the compiler's third stage).

    Cost: the cost of the search, and `1 + size` runs of the program for each validation example:
    for the search's result and for the members together. Every run of the result needs `size`
    runs of the program.

    Args:
        search: the optimizer whose candidates become members.
        size: the maximum number of members, 2 or more.
        reduce: how their predictions become one: `majority` or `per_field`.

    Raises:
        RecipeError: if the size, the reduce function or the search is not valid, or the search
            makes ensembles.
    """

    search: Optimizer = field(default_factory=RandomSearch)
    size: int = 3
    reduce: str = "majority"
    name: str = "ensemble"

    def __post_init__(self) -> None:
        check_settings(self, "size", minimum=2, integer=True)
        check_choice("Ensemble", "reduce", self.reduce, tuple(REDUCERS), error=RecipeError)
        check_optimizer("Ensemble", "search", self.search)
        if self.search.cost(Sizes(1, 1)).per_result > 1:
            raise RecipeError(
                f"Ensemble(search={self.search}): the search makes ensembles itself; use one that "
                "makes single programs"
            )

    async def optimize(self, task: Task) -> ProgramState:
        await task.race([(self.search.name, await self.search.optimize(task))])
        # Ranked by estimated scores on all examples: a candidate that a race dropped may be better
        # than one that met weaker rivals, as the baselines do.
        ranked = sorted(
            task.candidates,
            key=lambda candidate: (task.estimate(candidate), candidate.complete, candidate.rank),
            reverse=True,
        )
        singles = [candidate.state for candidate in ranked if candidate.state.reduce is None]
        # A state that was dropped and later scored on all examples is two candidates.
        members = list(dict.fromkeys(singles))[: self.size]
        if len(members) >= 2:
            together = ensemble_state(members, reduce=self.reduce)
            await task.race([(f"the best {len(members)} together", together)])
        return task.best.state

    def cost(self, sizes: Sizes) -> Cost:
        search = self.search.cost(sizes)
        runs = search.runs + (1 + self.size) * sizes.val
        return replace(search, runs=runs, per_result=self.size, trainings=())

    def settings(self) -> dict[str, Any]:
        search = {"name": self.search.name, **self.search.settings()}
        return {"name": self.name, "search": search, "size": self.size, "reduce": self.reduce}
