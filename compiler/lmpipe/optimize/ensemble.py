"""`Ensemble`: the best candidates of a search, voting."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lmpipe.errors import RecipeError
from lmpipe.optimize.engine.optimizer import Cost, Optimizer, Sizes
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.random_search import RandomSearch
from lmpipe.state.program_state import ProgramState, ensemble_state


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """Search, and let the best candidates answer together.

    Source: arXiv 2310.03714, section 4 (the compiler's third stage). What is learned is a state
    like any other, whose members all run on the same inputs; a reduce function makes one
    prediction of theirs. It wins only if it beats its best member on validation.

    Cost: that of the search, and `1 + size` runs of the program for each validation example: of
    the search's result and of the members together. Each run of the result comes to `size` runs
    of the program.

    Args:
        search: the optimizer whose candidates are put together.
        size: how many of them.
        reduce: how their predictions become one: `majority` or `per_field`.

    Raises:
        RecipeError: if there are fewer than 2 members, or the search makes ensembles itself.
    """

    search: Optimizer = field(default_factory=RandomSearch)
    size: int = 3
    reduce: str = "majority"
    name: str = "ensemble"

    def __post_init__(self) -> None:
        if self.size < 2 or self.search.cost(Sizes(1, 1)).per_result > 1:
            raise RecipeError(f"{self}: needs 2 members or more, and a search for single programs")

    async def optimize(self, task: Task) -> ProgramState:
        await task.race([(self.search.name, await self.search.optimize(task))])
        # By what they would score on all examples: a candidate that a race dropped may be better
        # than one that met weaker rivals, as the baselines do.
        ranked = sorted(
            task.candidates,
            key=lambda candidate: (task.estimate(candidate), candidate.complete, candidate.rank),
            reverse=True,
        )
        singles = [candidate.state for candidate in ranked if candidate.state.reduce is None]
        # A state that was dropped, and scored to its end later, is two candidates.
        members = list(dict.fromkeys(singles))
        if len(members) >= 2:
            together = ensemble_state(members[: self.size], reduce=self.reduce)
            await task.race([(f"the best {len(members[: self.size])} together", together)])
        return task.best.state

    def cost(self, sizes: Sizes) -> Cost:
        search = self.search.cost(sizes)
        runs = search.runs + (1 + self.size) * sizes.val
        return Cost(runs, search.asks, self.size, pools=search.pools)

    def settings(self) -> dict[str, Any]:
        search = {"name": self.search.name, **self.search.settings()}
        return {"name": self.name, "search": search, "size": self.size, "reduce": self.reduce}
