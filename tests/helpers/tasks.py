"""Tasks of the small world, for tests that drive the engine or an optimizer directly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from helpers.world import recipe

import lmpipe
from lmpipe.compiling.recipe import prepare
from lmpipe.lm.concurrency import loop
from lmpipe.optimize.engine.budget import Ledger
from lmpipe.optimize.engine.events import Watcher, Watchers
from lmpipe.optimize.engine.optimizer import Optimizer
from lmpipe.optimize.engine.race_rules import Racing
from lmpipe.optimize.engine.task import Task


def make_task(
    *,
    racing: Racing | None = None,
    budget: lmpipe.Budget | None = None,
    watchers: Sequence[Watcher] = (),
    **changes: object,
) -> Task:
    """Make a task from the world's recipe.

    Args:
        racing: the racing rules; None scores every candidate on every example.
        budget: the budget; no limits by default.
        watchers: receive the task's events.
        changes: parts of the recipe to change.
    """
    ready = prepare(recipe(**changes))
    return Task(
        program=ready.recipe.program,
        train=ready.train,
        val=ready.val,
        metric=ready.recipe.metric,
        lms=ready.lms,
        seed=0,
        ledger=Ledger(budget or lmpipe.Budget()),
        watcher=Watchers([*watchers]),
        racing=racing,
        objectives=ready.objectives,
    )


def run_optimizer(optimizer: Optimizer, **options: Any) -> Task:
    """Run an optimizer on a new task, from the program as declared, without baselines or test.

    Args:
        optimizer: the optimizer.
        options: the options of `make_task`.
    """
    task = make_task(**options)
    loop.run_sync(optimizer.optimize(task))
    return task
