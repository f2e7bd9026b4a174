"""The plan of a compile: its phases and their worst case."""

from __future__ import annotations

import io
from typing import Any

import pytest
from helpers.world import TwoSteps, recipe, student
from rich.console import Console

import lmpipe
from lmpipe.compiling.recipe import prepare
from lmpipe.lm.spend import Spend
from lmpipe.report.terminal import plan_json, print_plan


def test_the_phases_are_in_their_order() -> None:
    plan = prepare(recipe(optimizer=lmpipe.LabeledFewShot())).plan()
    assert plan.train_check is not None
    assert plan.phases == (plan.baselines, plan.search, plan.result, plan.test, plan.train_check)
    assert [phase.label for phase in plan.phases] == [
        "baselines on validation",
        "labeled on train and validation",
        "the result on validation",
        "baselines and result on test",
        "the result on train",
    ]


def test_the_total_is_the_sum_of_the_phases() -> None:
    plan = prepare(recipe(student=student(context=100, price=(1.0, 2.0)))).plan()
    assert plan.total == sum((phase.worst for phase in plan.phases), Spend())
    assert plan.total.calls > 0


def test_every_phase_counts_its_examples() -> None:
    plan = prepare(recipe()).plan()
    baselines = 2  # as declared, and constrained
    assert plan.baselines.runs == baselines * 30
    assert plan.result.runs == 30
    assert plan.test.runs == (baselines + 1) * 40


def test_without_test_examples_the_test_costs_nothing() -> None:
    plan = prepare(recipe(test=None)).plan()
    assert (plan.test.runs, plan.test.worst.calls) == (0, 0)


@pytest.mark.parametrize("search", [lmpipe.LayoutSearch, lmpipe.RandomSearch, lmpipe.MIPROv2])
def test_a_layout_of_two_calls_that_is_tried_is_counted(search: Any) -> None:
    one, two = (
        prepare(recipe(optimizer=search(layouts=layouts))).plan()
        for layouts in (("chat", "json"), ("chat", "two-step"))
    )
    assert two.search.worst.calls - one.search.worst.calls == one.search.runs * one.calls_per_run
    assert two.result.worst.calls == 2 * one.result.worst.calls
    assert two.baselines == one.baselines


def test_a_dry_run_says_that_a_loop_of_unknown_length_has_no_maximum() -> None:
    class Loop(TwoSteps):
        def forward(self, thing: str) -> Any:
            for word in thing.split():
                self.describe(thing=word)
            return super().forward(thing)

    plan = plan_json(prepare(recipe(program=Loop())))
    assert plan["uncounted"] == ["Loop.describe"]
    file = io.StringIO()
    print_plan(Console(file=file, width=200), plan)
    assert "these are not maximums: Loop.describe is used in a loop" in file.getvalue()
