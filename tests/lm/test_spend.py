"""Accounts: totals by role, predictor and LM in any order; an unknown price is not zero."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lmpipe
from lmpipe.lm.call import Call
from lmpipe.lm.prices import Price
from lmpipe.lm.request import Reply
from lmpipe.lm.spend import Account, Spend, spend_on_resent
from lmpipe.state.usage import Usage

PRICES = {"a": Price(0.15, 0.6, 0.075), "b": Price(0.1, 0.3), "c": None}


@st.composite
def made_calls(draw: st.DrawFn) -> Call:
    lm = draw(st.sampled_from("abc"))
    usage = Usage(*(draw(st.integers(0, 10_000)) for _ in range(3)))
    role = draw(st.sampled_from(["task", "teacher", "judge"]))
    label = draw(st.sampled_from(["x", "y"]))
    return Call(
        "k", label, role, lm, PRICES[lm], Reply("", usage=usage, cached=draw(st.booleans()))
    )


def call(role: str = "task", label: str = "x", lm: str = "a", usage: Usage | None = None) -> Call:
    usage = Usage(100, 10, 50) if usage is None else usage
    return Call("k", label, role, lm, PRICES[lm], Reply("", usage=usage))


@given(st.lists(made_calls()), st.randoms(use_true_random=False))
def test_the_order_of_calls_does_not_matter(calls: list[Call], rng: random.Random) -> None:
    shuffled = rng.sample(calls, len(calls))
    assert Account(calls).to_json() == Account(shuffled).to_json()


@given(st.lists(made_calls()), st.lists(made_calls()))
def test_merged_accounts_add_up(one: list[Call], other: list[Call]) -> None:
    merged = Account(one)
    merged.merge(Account(other))
    assert merged == Account([*one, *other])
    assert merged.total == Account([*one, *other]).total


@given(st.lists(made_calls()))
def test_every_table_adds_up_to_the_total(calls: list[Call]) -> None:
    account = Account(calls)
    for table in (account.by_role, account.by_predictor, account.by_lm):
        total = sum(table.values(), Spend())
        assert (total.calls, total.tokens, total.usage) == (
            account.total.calls,
            account.total.tokens,
            account.total.usage,
        )
        if account.total.usd is None:
            assert total.usd is None
        else:
            assert total.usd == pytest.approx(account.total.usd)


def test_roles_have_a_fixed_order() -> None:
    account = Account([call(role) for role in ("judge", "teacher", "task")])
    assert list(account.by_role) == ["task", "teacher", "judge"]


def test_the_predictor_of_a_judge_is_distinguished_from_the_programs() -> None:
    account = Account([call("task"), call("teacher"), call("judge")])
    assert {name: spend.calls for name, spend in account.by_predictor.items()} == {
        "x": 2,
        "judge: x": 1,
    }


def test_an_unknown_price_makes_only_its_totals_unknown() -> None:
    account = Account([call(lm="a"), call(lm="c")])
    assert account.total.usd is None
    assert account.by_lm["c"].usd is None
    assert account.by_lm["a"].usd == pytest.approx((50 * 0.15 + 50 * 0.075 + 10 * 0.6) / 1e6)


def test_the_worst_case_uses_the_highest_price_of_all_lms() -> None:
    cheap, expensive = (
        lmpipe.LM("vllm/a", price=(1, 2)),
        lmpipe.LM("vllm/b", price=(3, 1), context=100),
    )
    assert Spend.worst_case(10, [cheap, expensive]) == Spend(10, 81920, 10 * 8192 * 3 / 1e6)


def test_with_an_unknown_price_the_worst_case_is_unknown() -> None:
    lms = [lmpipe.LM("vllm/a", price=(1, 2)), lmpipe.LM("vllm/b")]
    assert Spend.worst_case(10, lms).usd is None


def test_no_calls_cost_nothing_at_any_price() -> None:
    assert Spend.worst_case(0, [lmpipe.LM("vllm/b")]) == Spend()


def test_what_was_sent_again_is_counted_for_fresh_calls() -> None:
    reply = Reply("", usage=Usage(100, 10), attempts=3)
    made = [Call("k", "x", "task", "a", None, one) for one in (reply, reply.as_cached())]
    assert Account(made).total.resent == 2
    assert (Account(made).total.calls, Account(made).total.fresh_calls) == (2, 1)


def test_what_was_sent_again_costs_as_much_as_what_was_answered() -> None:
    reply = Reply("", usage=Usage(100, 10), attempts=3)
    again = spend_on_resent([Call("k", "x", "task", "b", PRICES["b"], reply), call()])
    assert (again.calls, again.tokens) == (2, 220)
    assert again.usd == pytest.approx(2 * (100 * 0.1 + 10 * 0.3) / 1e6)
