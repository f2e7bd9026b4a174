"""The ledger: what is refused, and what neither the order nor a server's cache must change."""

from __future__ import annotations

import pytest

from lmpipe.errors import BudgetExhaustedError, RecipeError
from lmpipe.lm.call import Call
from lmpipe.lm.prices import Price
from lmpipe.lm.request import Reply
from lmpipe.lm.spend import Spend
from lmpipe.lm.usage import Usage
from lmpipe.optimize.engine.budget import Budget, Ledger


def call(usd: float | None, *, cached: int = 0) -> Call:
    """A call of a million prompt tokens at this price, so many of them in the prefix cache."""
    price = None if usd is None else Price(usd, 0.0, 0.0)
    reply = Reply("", usage=Usage(10**6, 0, cached))
    return Call("key", "ask", "task", "vllm/m", price, reply)


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


async def test_a_servers_prefix_cache_does_not_decide_where_a_budget_ends() -> None:
    ledger = Ledger(Budget(usd=1.0))
    await ledger.admit(Spend(1, 2, 0.6))
    ledger.settle(Spend(1, 2, 0.6), [call(0.6, cached=10**6)])
    assert ledger.total.usd == 0.0
    with pytest.raises(BudgetExhaustedError):
        await ledger.admit(Spend(1, 2, 0.6))


async def test_an_unknown_price_under_a_budget_in_dollars_is_an_error() -> None:
    ledger = Ledger(Budget(usd=1.0))
    await ledger.admit(Spend(1, 2, 0.6))
    with pytest.raises(RecipeError, match="the price of vllm/m is unknown"):
        ledger.settle(Spend(1, 2, 0.6), [call(None)])


async def test_an_unknown_price_is_no_matter_where_money_is_not_limited() -> None:
    ledger = Ledger(Budget(calls=2))
    for _ in range(2):
        await ledger.admit(Spend(1, 2, None))
        ledger.settle(Spend(1, 2, None), [call(None)])
    assert (ledger.total.calls, ledger.total.usd) == (2, None)
