"""The trials of MIPROv2: what was tried, and which point is the best."""

from __future__ import annotations

import pytest
from helpers.tasks import make_task
from helpers.world import things

from lmpipe.lm.concurrency.loop import run_sync
from lmpipe.optimize.mipro_space import Space
from lmpipe.optimize.mipro_trials import Trials
from lmpipe.optimize.shared.demo_sets import DemoChoice

LONG = "Look at the thing with care, think of all colours, and then say which one it has."


def test_instructions_have_their_weighted_scores_even_below_0() -> None:
    task = make_task(val=things(8, start=100), objectives={"tokens": -50.0})
    run_sync(task.evaluate(task.start, name="as declared"))
    declared = task.start["self"].instruction
    space = Space(task.start, {"self": [declared, LONG]}, {"self": [DemoChoice("none")]}, [], [])
    trials = Trials(task, space)
    point = {"instruction of self": 1}
    run_sync(trials.race([point], [space.state(point)]))
    first, second = task.candidates
    assert second.weighted_score < first.weighted_score < 0
    scores = {LONG: second.weighted_score, declared: first.weighted_score}
    assert trials.tried("self") == pytest.approx(scores)
    assert trials.best_state() == task.start
