"""Budgets that cannot give a first candidate are refused before anything is paid."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers.world import recipe, student

import lmpipe
from lmpipe.compiling.budget_floor import budget_problem, check_budget
from lmpipe.compiling.recipe import prepare
from lmpipe.errors import BudgetExhaustedError
from lmpipe.optimize.engine.budget import Budget


@pytest.mark.parametrize("budget", [Budget(calls=3), Budget(tokens=100), Budget(usd=1e-9)])
def test_a_budget_too_small_for_a_first_candidate_is_refused_before_any_call(
    tmp_path: Path, budget: Budget
) -> None:
    lm = student(price=(1.0, 3.0))
    with pytest.raises(BudgetExhaustedError, match="too small to score a first candidate"):
        lmpipe.compile(recipe(student=lm, budget=budget), runs=tmp_path / "runs")
    assert not lm.requests
    assert not (tmp_path / "runs").exists()


def test_the_budget_that_the_refusal_names_is_enough(tmp_path: Path) -> None:
    problem = budget_problem(prepare(recipe(budget=Budget(calls=3))))
    named = re.search(r"give (calls=\d+) or more", problem)
    assert named
    enough = Budget.parse(named[1])
    check_budget(prepare(recipe(budget=enough)))
    less = Budget(calls=enough.calls - 2)  # type: ignore[operator]
    assert budget_problem(prepare(recipe(budget=less)))


def test_a_budget_that_may_be_enough_is_not_refused() -> None:
    for budget in (Budget(), Budget(calls=420), Budget(seconds=1)):
        assert not budget_problem(prepare(recipe(budget=budget)))
