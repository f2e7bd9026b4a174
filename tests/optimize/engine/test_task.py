"""The task: a state is scored once; worst cases include a predictor's own LM."""

from __future__ import annotations

import asyncio

import pytest
from helpers.scripts import ScriptedProposer
from helpers.tasks import make_task
from helpers.world import recipe, student

import lmpipe
from lmpipe.compiling.recipe import prepare
from lmpipe.errors import RecipeError
from lmpipe.lm.concurrency import loop


def test_a_state_evaluated_twice_concurrently_is_scored_once() -> None:
    task = make_task()

    async def twice() -> None:
        state = task.program.state()
        await asyncio.gather(task.evaluate(state, name="a"), task.evaluate(state, name="b"))

    loop.run_sync(twice())
    assert [candidate.name for candidate in task.candidates] == ["a"]


def test_a_question_to_the_proposer_is_answered_or_none() -> None:
    class Name(lmpipe.Signature):
        thing: str = lmpipe.Input()
        word: str = lmpipe.Output()

    proposer = ScriptedProposer(lambda asked: None if asked["thing"] == "sky" else "a word")
    task = make_task(proposer=proposer.lm)
    known = loop.run_sync(task.ask(Name, thing="apple"))
    assert known is not None
    assert known.word == "a word"
    assert loop.run_sync(task.ask(Name, thing="sky")) is None


def test_an_expensive_teacher_does_not_make_the_final_test_expensive() -> None:
    teacher = student(context=100_000)
    plan = prepare(recipe(student=student(context=100), teacher=teacher)).plan()
    assert plan.test.worst.tokens == 3 * 40 * 2 * 100


def test_the_worst_case_includes_a_predictors_own_lm() -> None:
    program = lmpipe.Predict("thing -> colour", lm=student(context=1000))
    plan = prepare(recipe(program=program, student=student(context=100))).plan()
    assert plan.result.worst.tokens == 30 * 2 * 1000


def test_a_budget_in_dollars_needs_the_price_of_a_predictors_own_lm() -> None:
    own = lmpipe.LM("vllm/m", base_url="http://127.0.0.1:1/v1")
    program = lmpipe.Predict("thing -> colour", lm=own)
    with pytest.raises(RecipeError, match="uses vllm/m without a price"):
        prepare(recipe(program=program, budget=lmpipe.Budget(usd=1.0)))


def test_the_spend_so_far_is_of_all_roles() -> None:
    task = make_task(teacher=student(name="teacher"))
    assert task.spend.calls == 0

    async def run() -> None:
        await task.rollouts(task.start, task.train[:3])
        await task.trials([(task.start, task.train[0])])

    loop.run_sync(run())
    assert task.spend.calls >= 4
