"""Budgets: which are valid, when the ledger refuses a run, and what must not change that."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lmpipe.errors import BudgetExhaustedError, RecipeError
from lmpipe.lm.call import Call
from lmpipe.lm.prices import Price
from lmpipe.lm.request import Reply
from lmpipe.lm.spend import Spend
from lmpipe.optimize.engine.budget import Budget, Ledger
from lmpipe.state.usage import Usage


def call(usd: float | None, *, cached: int = 0) -> Call:
    """Make a call of a million prompt tokens at this price.

    Args:
        usd: the price in dollars; None if unknown.
        cached: how many of the tokens were in the server's prefix cache.
    """
    price = None if usd is None else Price(usd, 0.0, 0.0)
    reply = Reply("", usage=Usage(10**6, 0, cached))
    return Call("key", "ask", "task", "vllm/m", price, reply)


async def test_rounding_errors_in_sums_of_money_do_not_matter() -> None:
    ledger = Ledger(Budget(usd=0.6))
    for usd in (0.1, 0.2, 0.3):  # 0.1 + 0.2 + 0.3 is a bit more than 0.6
        await ledger.admit(Spend(1, 2, usd))
        ledger.settle(Spend(1, 2, usd), [call(usd)])
    with pytest.raises(BudgetExhaustedError):
        await ledger.admit(Spend(1, 2, 0.001))


async def test_calls_that_cost_more_than_their_worst_case_are_a_recipe_error() -> None:
    ledger = Ledger(Budget(usd=10.0))
    await ledger.admit(Spend(1, 2, 0.5))
    with pytest.raises(RecipeError, match="context"):
        ledger.settle(Spend(1, 2, 0.5), [call(0.6)])


async def test_a_servers_prefix_cache_does_not_change_where_a_budget_ends() -> None:
    ledger = Ledger(Budget(usd=1.0))
    await ledger.admit(Spend(1, 2, 0.6))
    ledger.settle(Spend(1, 2, 0.6), [call(0.6, cached=10**6)])
    assert ledger.total.usd == 0.0
    with pytest.raises(BudgetExhaustedError):
        await ledger.admit(Spend(1, 2, 0.6))


async def test_an_unknown_price_is_an_error_if_the_budget_limits_dollars() -> None:
    ledger = Ledger(Budget(usd=1.0))
    await ledger.admit(Spend(1, 2, 0.6))
    with pytest.raises(RecipeError, match="the price of vllm/m is unknown"):
        ledger.settle(Spend(1, 2, 0.6), [call(None)])


async def test_an_unknown_price_is_allowed_if_the_budget_does_not_limit_dollars() -> None:
    ledger = Ledger(Budget(calls=2))
    for _ in range(2):
        await ledger.admit(Spend(1, 2, None))
        ledger.settle(Spend(1, 2, None), [call(None)])
    assert (ledger.total.calls, ledger.total.usd) == (2, None)


async def test_a_refusal_says_what_is_spent_withheld_and_needed() -> None:
    ledger = Ledger(Budget(calls=90))
    ledger.withhold(Spend(20, 0, None), "the final test")
    await ledger.admit(Spend(69, 0, None))
    ledger.settle(Spend(69, 0, None), [call(None)] * 69)
    with pytest.raises(
        BudgetExhaustedError,
        match=r"69 of 90 calls are spent, 20 calls are withheld for the final test, and the "
        r"next step may need 2 calls",
    ):
        await ledger.admit(Spend(2, 0, None))


async def test_a_refusal_for_lack_of_money_is_in_dollars() -> None:
    ledger = Ledger(Budget(usd=1.0))
    with pytest.raises(BudgetExhaustedError, match=r"\$0\.00 of \$1\.00 are .* need \$1\.25"):
        await ledger.admit(Spend(1, 2, 1.25))


def test_the_whole_room_of_a_budget_is_counted_despite_rounding() -> None:
    assert Ledger(Budget(usd=0.6)).room(Spend(1, 1, 0.1)) == 6


@pytest.mark.parametrize(
    "text", ["calls=0", "calls=-5", "usd=nan", "usd=inf", "tokens=1.5", "eur=3"]
)
def test_a_text_that_is_not_a_budget_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match=text.partition("=")[0]):
        Budget.parse(text)


def test_a_budget_is_parsed_from_its_own_text() -> None:
    budget = Budget(calls=2000, usd=1.5, seconds=60)
    assert Budget.parse(str(budget)) == budget


async def test_what_was_sent_again_counts_in_every_limit() -> None:
    resent = replace(call(0.2), reply=Reply("", usage=Usage(10**6), attempts=3))
    for budget in (Budget(calls=3), Budget(tokens=3 * 10**6), Budget(usd=0.6)):
        ledger, worst = Ledger(budget), Spend(1, 10**6, 0.2)
        await ledger.admit(worst)
        ledger.settle(worst, [resent])
        with pytest.raises(BudgetExhaustedError):
            await ledger.admit(worst)
    assert (ledger.total.calls, ledger.total.resent) == (1, 2)


@pytest.mark.parametrize(
    ("budget", "limit"), [(Budget(tokens=10), "tokens"), (Budget(usd=1), r"\$1\.00")]
)
async def test_calls_whose_tokens_the_server_did_not_count_are_charged_their_maximum(
    budget: Budget, limit: str
) -> None:
    ledger, worst = Ledger(budget), Spend(2, 8, 0.8)
    await ledger.admit(worst)
    ledger.settle(worst, [replace(call(0.1), reply=Reply("", usage=Usage()))] * 2)
    with pytest.raises(BudgetExhaustedError, match=rf"{limit} are spent, 2 calls without a count"):
        await ledger.admit(worst)
    assert ledger.total.tokens == 0
