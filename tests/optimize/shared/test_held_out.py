"""What is known of states from some validation examples."""

from __future__ import annotations

import random
from typing import Any

import pytest
from helpers.scripts import number_of, reply_to
from helpers.tasks import make_task
from helpers.world import NameColour, things

import lmpipe
from lmpipe.lm.concurrency.loop import run_sync
from lmpipe.lm.request import Request
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.shared.held_out import HeldOut, is_behind
from lmpipe.state.program_state import ProgramState


def task_of(**changes: Any) -> Task:
    """Make a task whose student is right on the even ones, and on all if it is told so."""

    def answer(request: Request) -> str:
        told = "All." in request.messages[0].text
        return reply_to(request, right=told or number_of(request) % 2 == 0)

    task = make_task(
        program=lmpipe.Predict(NameColour),
        student=lmpipe.ScriptedLM(answer),
        train=things(4),
        val=things(20, start=100),
        **changes,
    )
    run_sync(task.evaluate(task.start, name="as declared"))
    return task


def saying(task: Task, text: str) -> ProgramState:
    return task.start.map(instruction=text)


def test_a_block_is_a_part_of_the_examples() -> None:
    held_out = HeldOut(task_of(), random.Random(0))
    assert len(set(held_out.block)) == 8


def test_only_the_block_is_run_and_counted() -> None:
    task = task_of()
    held_out, state = HeldOut(task, random.Random(0)), saying(task, "All.")
    run_sync(held_out.run_block(state))
    run_sync(held_out.run_block(state))
    assert held_out.scores(state).keys() == set(held_out.block)
    assert held_out.runs == 20 + 8


def test_a_score_is_expected_from_the_lead_on_the_block() -> None:
    task = task_of()
    held_out, better = HeldOut(task, random.Random(0)), saying(task, "All.")
    run_sync(held_out.run_block(better))
    assert 0.5 < held_out.expected([task.start, better]) < 1.0


def test_a_block_of_hard_examples_does_not_lower_what_is_expected() -> None:
    task = task_of()
    same = saying(task, "Some.")

    class Hardest(random.Random):
        def sample(self, population: Any, k: int, **options: Any) -> list[Any]:
            odd = [i for i in population if i % 2]
            return odd[:k]

    held_out = HeldOut(task, Hardest())
    run_sync(held_out.run_block(same))
    assert set(held_out.scores(same).values()) == {0.0}
    assert held_out.expected([task.start, same]) == pytest.approx(0.5)


def test_scores_are_inherited_where_a_state_was_not_run() -> None:
    task = task_of()
    held_out, better = HeldOut(task, random.Random(0)), saying(task, "All.")
    run_sync(held_out.run_block(better))
    found = held_out.inherited([task.start, better])
    assert len(found) == 20
    assert all(found[index] == 1.0 for index in held_out.block)


def test_a_race_says_whether_the_state_is_the_best() -> None:
    task = task_of()
    held_out = HeldOut(task, random.Random(0))
    assert run_sync(held_out.race("better", saying(task, "All.")))
    assert not run_sync(held_out.race("no better", saying(task, "Some.")))
    assert held_out.runs == 60


@pytest.mark.parametrize(
    ("pairs", "behind"),
    [
        ([(1.0, 0.0)] * 6 + [(1.0, 1.0)] * 4, True),
        ([(1.0, 0.0)] * 2 + [(0.0, 1.0)] + [(1.0, 1.0)] * 7, False),
        ([(0.0, 1.0)] * 5, False),
        ([], False),
    ],
)
def test_a_state_is_behind_if_losses_outweigh_gains_by_more_than_chance(
    pairs: list[tuple[float, float]], behind: bool
) -> None:
    assert is_behind(pairs) is behind
