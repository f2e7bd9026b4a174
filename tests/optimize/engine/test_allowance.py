"""What is left of a budget, in runs of the program."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.proposing_lm import proposing_lm
from helpers.recorder import Recorder
from helpers.scripts import reply_to
from helpers.tasks import make_task
from helpers.world import TwoSteps

import lmpipe
from lmpipe.lm.concurrency.loop import run_sync
from lmpipe.optimize.engine.task import Task
from lmpipe.signatures.signature import Input, Output


class Write(lmpipe.Signature):
    """Write an instruction."""

    about: str = Input()
    instruction: str = Output()


def task_after(runs: int, *, asked: int = 0, **options: Any) -> Task:
    """Return a task after some runs of the program and questions to the proposer."""
    settings = options.pop("lm", {})
    student = lmpipe.ScriptedLM(lambda request: reply_to(request, right=True), **settings)
    task = make_task(student=student, proposer=proposing_lm(**settings), **options)

    async def work() -> None:
        await task.trial([task.start], task.train[:runs])
        await task.ask_all(Write, [{"about": str(number)} for number in range(asked)])

    run_sync(work())
    return task


def test_without_a_budget_nothing_limits() -> None:
    assert task_after(5).allowance().runs is None


def test_before_the_first_run_none_is_promised() -> None:
    assert task_after(0, budget=lmpipe.Budget(calls=100)).allowance().runs == 0


def test_calls_are_counted_as_runs_took_them() -> None:
    budget = lmpipe.Budget(calls=100)
    assert task_after(10, budget=budget).allowance().runs == 90
    assert task_after(10, budget=budget, program=TwoSteps()).allowance().runs == 40


def test_a_question_to_the_proposer_is_priced_in_runs() -> None:
    budget = lmpipe.Budget(calls=100)
    one, two = (
        task_after(10, asked=4, budget=budget),
        task_after(10, asked=4, budget=budget, program=TwoSteps()),
    )
    assert (one.allowance().runs, one.allowance().ask) == (86, 1.0)
    assert (two.allowance().runs, two.allowance().ask) == (38, 0.5)


@pytest.mark.parametrize("limit", ["tokens", "usd"])
def test_the_limit_that_ends_first_decides(limit: str) -> None:
    lm, told = {"context": 1000, "price": (1.0, 1.0)}, Recorder()
    task_after(10, lm=lm, watchers=[told])
    calls = [call for row in told.of("trial") for call in row.calls]
    tokens = sum(call.reply.usage.tokens for call in calls)
    each = (tokens if limit == "tokens" else tokens / 1e6) / 10
    most: Any = {limit: 20_000 if limit == "tokens" else 0.1}  # the worst case of runs fits
    task = task_after(10, lm=lm, budget=lmpipe.Budget(calls=10_000, **most))
    assert task.allowance().runs == int((most[limit] - 10 * each) / each + 1e-9)
