"""Runs on training examples, each made once."""

from __future__ import annotations

from helpers.scripts import reply_to
from helpers.tasks import make_task
from helpers.world import NameColour, things

import lmpipe
from lmpipe.lm.concurrency.loop import run_sync
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.shared.training_runs import TrainingRuns


def task_of() -> Task:
    student = lmpipe.ScriptedLM(
        lambda request: reply_to(request, right="All." in request.messages[0].text)
    )
    return make_task(program=lmpipe.Predict(NameColour), student=student, train=things(6))


def test_what_is_known_is_not_run_again() -> None:
    task = task_of()
    runs = TrainingRuns(task)
    run_sync(runs.rows([(task.start, 0), (task.start, 1)]))
    rows = run_sync(runs.rows([(task.start, 1), (task.start, 2), (task.start, 1)]))
    assert [row.example for row in rows] == [task.train[1], task.train[2], task.train[1]]
    assert runs.runs == 3
    assert runs.known(task.start).keys() == {0, 1, 2}


def test_the_latest_row_is_that_of_the_last_state_that_was_run() -> None:
    task = task_of()
    runs, later = TrainingRuns(task), task.start.map(instruction="All.")
    run_sync(runs.rows([(task.start, 0), (task.start, 1), (later, 0)]))
    scores = [runs.latest([task.start, later], index) for index in range(3)]
    assert [row and row.score.value for row in scores] == [1.0, 0.0, None]
