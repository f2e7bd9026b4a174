"""Whether a budget is enough for a first candidate, known before anything is paid."""

from __future__ import annotations

from lmpipe.compiling.plan import baselines
from lmpipe.compiling.recipe import PreparedRecipe
from lmpipe.errors import BudgetExhaustedError
from lmpipe.foundation.plural import plural
from lmpipe.lm.spend import Spend
from lmpipe.optimize.engine.budget import Budget, Ledger
from lmpipe.optimize.engine.worst_case import worst_run


def check_budget(prepared: PreparedRecipe) -> None:
    """Check that the budget can score a first candidate, if every run makes one LM call.

    Raises:
        BudgetExhaustedError: if it cannot; the message says what it takes.
    """
    if problem := budget_problem(prepared):
        raise BudgetExhaustedError(problem)


def budget_problem(prepared: PreparedRecipe) -> str:
    """Say why the budget is too small to score a first candidate; empty if it may be enough."""
    recipe, lms, test = prepared.recipe, prepared.lms, prepared.plan().test.worst
    states, val = len(baselines(recipe.program)), list(range(len(prepared.val)))
    examples = len(recipe.racing.blocks(val)[0]) if recipe.racing else len(val)
    # The last run is admitted only if its worst case fits beside the others.
    last = worst_run(recipe.program, [lms.student], recipe.metric, lms.judge, lms.embedder)
    least = Spend(states * examples - 1, 0, 0.0) + last
    ledger = Ledger(recipe.budget)
    ledger.withhold(test, "the final test")
    if not ledger.shortfall(least):
        return ""
    # At most half of the budget is withheld for the test.
    enough = {
        name: getattr(least, name) + min(getattr(test, name), getattr(least, name))
        for name in ("calls", "tokens", "usd")
        if getattr(recipe.budget, name) is not None
    }
    return (
        f"the budget ({recipe.budget}) is too small to score a first candidate, the program as "
        f"declared: that takes {plural(states * examples, 'run')} of the program, and the final "
        f"test is withheld beside it; give {Budget(**enough)} or more"
    )
