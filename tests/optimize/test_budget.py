"""The ledger: what is refused, and what the order of adding up must not change."""

from __future__ import annotations

import pytest

from lmpipe.errors import BudgetExhaustedError, RecipeError
from lmpipe.lm.request import Reply, Usage
from lmpipe.lm.runtime import Call
from lmpipe.optimize import Budget, Ledger, Spend


def call(usd: float) -> Call:
    return Call("key", "ask", "task", "lm", usd, Reply("", usage=Usage(1, 1)))


async def test_the_last_bits_of_a_sum_of_money_do_not_decide() -> None:
    ledger = Ledger(Budget(usd=0.6))
    for usd in (0.1, 0.2, 0.3):  # 0.1 + 0.2 + 0.3 is a bit more than 0.6
        await ledger.admit(Spend(1, 2, usd))
        ledger.settle(Spend(1, 2, usd), [call(usd)])
    with pytest.raises(BudgetExhaustedError):
        await ledger.admit(Spend(1, 2, 0.001))


async def test_calls_dearer_than_their_worst_case_are_an_error_of_the_recipe() -> None:
    ledger = Ledger(Budget(usd=10.0))
    await ledger.admit(Spend(1, 2, 0.5))
    with pytest.raises(RecipeError, match="context"):
        ledger.settle(Spend(1, 2, 0.5), [call(0.6)])
