"""A task of the small world, for tests that drive the engine or an optimizer directly."""

from __future__ import annotations

from helpers.world import recipe

import lmpipe
from lmpipe.optimize import Ledger, Racing, Task, Watchers
from lmpipe.recipe import prepare


def make_task(
    *, racing: Racing | None = None, budget: lmpipe.Budget | None = None, **changes: object
) -> Task:
    """A task on the world's recipe; `changes` are parts of that recipe."""
    ready = prepare(recipe(**changes))
    return Task(
        program=ready.recipe.program,
        train=ready.train,
        val=ready.val,
        metric=ready.recipe.metric,
        lms=ready.lms,
        seed=0,
        ledger=Ledger(budget or lmpipe.Budget()),
        watcher=Watchers(),
        racing=racing,
    )
