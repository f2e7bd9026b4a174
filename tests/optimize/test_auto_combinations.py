"""The combinations that `Auto` races at the end: the best state with one part of another."""

from __future__ import annotations

from helpers.scripts import demos_of, instruction_of, number_of, reply_to
from helpers.tasks import make_task
from helpers.world import things

import lmpipe
from lmpipe.lm.concurrency.loop import run_sync
from lmpipe.lm.request import Request
from lmpipe.optimize.auto_combinations import combinations
from lmpipe.optimize.engine.task import Task
from lmpipe.state.program_state import Demo, ProgramState

SHOWN = (Demo(inputs={"thing": "sky"}, outputs={"colour": "blue"}),)


def right(request: Request) -> bool:
    """More is right with a good instruction, less with demonstrations, more with both."""
    good, shown = "good" in instruction_of(request), bool(demos_of(request))
    return number_of(request) % 4 < 1 + 2 * good + shown


def task_with(*changes: dict[str, object]) -> Task:
    """Make a task whose candidates are the start, and the start with some changes each."""
    student = lmpipe.ScriptedLM(lambda request: reply_to(request, right=right(request)))
    task = make_task(student=student, val=things(20, start=100))
    states = [task.start, *(task.start.map(**change) for change in changes)]
    run_sync(task.race([(f"state {number}", state) for number, state in enumerate(states)]))
    return task


def found(task: Task) -> dict[str, ProgramState]:
    return dict(combinations(task))


def test_parts_of_other_candidates_are_put_into_the_best() -> None:
    task = task_with({"instruction": "good"}, {"demos": SHOWN})
    assert found(task) == {
        "best with the demonstrations of candidate 2": task.best.state.map(demos=SHOWN)
    }


def test_what_was_scored_is_not_combined_again() -> None:
    both = {"instruction": "good", "demos": SHOWN}
    assert not found(task_with({"instruction": "good"}, {"demos": SHOWN}, both))


def test_a_layout_comes_with_its_constraint() -> None:
    form = {"layout": "json", "constrained": True}
    task = task_with({"instruction": "good"}, form)
    assert found(task) == {
        "best with the layout and constraint of candidate 2": task.best.state.map(**form)
    }


def test_of_many_values_only_the_best_are_tried() -> None:
    others = [{"demos": SHOWN * count} for count in range(1, 6)]
    assert len(found(task_with({"instruction": "good"}, *others))) == 2


def test_a_single_candidate_has_nothing_to_combine() -> None:
    assert not found(task_with())
