"""DSPy programs are compiled by lmpipe's optimizers: all twelve, each by two of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.dspy_programs import BY_NAME, CASES, Case
from helpers.dspy_stub import scripted_lm

import lmpipe
from lmpipe.errors import BudgetExhaustedError
from lmpipe.integrations.dspy import from_dspy

EACH = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
OPTIMIZERS = {
    "random-search": lmpipe.RandomSearch(candidates=6, demos=3, bootstrapped=3),
    "gepa": lmpipe.GEPA(runs=90),
}


def recipe(case: Case, optimizer: str, **changes: Any) -> lmpipe.Recipe:
    parts: dict[str, Any] = {
        "program": from_dspy(case.make(), max_calls=case.max_calls),
        "train": case.data(8),
        "val": case.data(4, first=10),
        "metric": case.metric,
        "optimizer": OPTIMIZERS[optimizer],
        "student": scripted_lm(case.values),
        "budget": lmpipe.Budget(calls=2000),
        "train_check": 0,
    }
    return lmpipe.Recipe(**{**parts, **changes})


@EACH
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_each_program_gets_better(case: Case, optimizer: str, tmp_path: Path) -> None:
    run = lmpipe.compile(recipe(case, optimizer), runs=tmp_path)
    (declared,) = [each for each in run.candidates if each.name == "as declared"]
    assert declared.score < run.scores["validation"] == 1.0


@pytest.mark.parametrize("calls", [25, 60])
@pytest.mark.parametrize("name", ["multi-hop", "react"])
def test_no_call_is_made_beyond_the_budget(name: str, calls: int, tmp_path: Path) -> None:
    student = scripted_lm(BY_NAME[name].values)
    budget = lmpipe.Budget(calls=calls)
    made = recipe(BY_NAME[name], "random-search", student=student, budget=budget)
    try:
        run = lmpipe.compile(made, runs=tmp_path)
    except BudgetExhaustedError:  # before the first candidate was scored
        spent = calls
    else:
        spent = sum(role.calls for role in run.spend.values())
        assert run.stopped
    assert len(student.requests) <= spent <= calls
