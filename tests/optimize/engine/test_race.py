"""Races: what is dropped, what is kept, and what remains when the budget ends."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import tasks
from helpers.world import answer, recipe, student

import lmpipe
from lmpipe.errors import BudgetExhaustedError
from lmpipe.lm.concurrency import loop
from lmpipe.lm.request import Request
from lmpipe.optimize.engine.events import Candidate
from lmpipe.optimize.engine.race_rules import Racing
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.shared.draw_demos import labeled_demos, with_demos
from lmpipe.state.program_state import ProgramState


def make_task(
    lm: lmpipe.ScriptedLM | None = None,
    *,
    race: bool = True,
    budget: lmpipe.Budget | None = None,
) -> Task:
    return tasks.make_task(
        student=lm or student(), racing=Racing() if race else None, budget=budget
    )


def shown(task: Task, count: int, **changes: object) -> ProgramState:
    """Return the start with `count` demonstrations: in this world, more are better."""
    (path, pool), *_ = labeled_demos(task.predictors, task.train).items()
    return with_demos(task.start.map(**changes), {path: pool[:count]})


def entries(task: Task, *counts: int) -> list[tuple[str, ProgramState]]:
    return [(f"{count} demos", shown(task, count)) for count in counts]


def race(task: Task, *counts: int) -> list[Candidate]:
    return loop.run_sync(task.race(entries(task, *counts)))


def test_candidates_come_back_in_the_order_of_their_entries() -> None:
    task = make_task()
    assert [candidate.name for candidate in race(task, 0, 6, 2)] == [
        "0 demos",
        "6 demos",
        "2 demos",
    ]


def test_a_candidate_far_behind_is_dropped_and_the_better_one_is_best() -> None:
    task = make_task()
    worse, better = race(task, 0, 7)
    assert (worse.complete, better.complete) == (False, True)
    assert task.best is better


def test_without_racing_every_candidate_is_scored_on_every_example() -> None:
    task = make_task(race=False)
    assert all(candidate.complete for candidate in race(task, 0, 7))


def test_racing_makes_fewer_calls_and_finds_the_same_winner() -> None:
    lms = student(), student()
    winners = [
        max(race(make_task(lm, race=on), 0, 1, 2, 7), key=lambda c: (c.complete, c.rank)).name
        for lm, on in zip(lms, (True, False), strict=True)
    ]
    assert winners[0] == winners[1]
    assert len(lms[0].requests) < 0.75 * len(lms[1].requests)


def test_a_race_by_halves_keeps_half_of_equal_candidates_after_each_block() -> None:
    # 30 examples in 4 blocks: none is behind by more than chance, as all are the same.
    task = make_task()
    names = [
        (f"{n}", task.start.map(instruction=f"{task.start['self'].instruction} {n}"))
        for n in range(4)
    ]
    found = loop.run_sync(task.race(names, halve=True))
    assert [len(candidate.evaluation.rows) for candidate in found] == [30, 15, 8, 8]


def test_without_racing_nothing_is_halved() -> None:
    task = make_task(race=False)
    found = loop.run_sync(task.race(entries(task, 0, 1, 2, 7), halve=True))
    assert all(candidate.complete for candidate in found)


def test_a_later_race_includes_the_best_so_far_without_running_it_again() -> None:
    lm = student()
    task = make_task(lm)
    race(task, 7)
    before = len(lm.requests)
    (worse,) = race(task, 0)
    assert not worse.complete
    assert len(lm.requests) - before == worse.evaluation.calls


def test_a_state_that_was_dropped_keeps_its_score() -> None:
    lm = student()
    task = make_task(lm)
    race(task, 0, 7)
    before = len(lm.requests)
    assert not race(task, 0)[0].complete
    assert len(lm.requests) == before


def test_a_full_evaluation_only_runs_the_examples_that_a_race_left_out() -> None:
    lm = student()
    task = make_task(lm)
    dropped, _ = race(task, 0, 7)
    before = [request.messages[-1] for request in lm.requests]
    evaluation = loop.run_sync(task.evaluate(dropped.state, name="again"))
    assert len(evaluation.rows) == len(task.val)
    assert len(lm.requests) - len(before) <= 2 * (len(task.val) - len(dropped.evaluation.rows))


def test_of_equal_candidates_the_one_with_the_shorter_prompt_is_best() -> None:
    lm = lmpipe.ScriptedLM(lambda request: "## colour\nred")
    task = make_task(lm)
    race(task, 5, 1, 3)
    assert task.best.name == "1 demos"


def test_the_estimate_of_a_dropped_candidate_is_not_the_mean_of_its_rows() -> None:
    task = make_task()
    dropped, best = race(task, 0, 7)
    behind = [
        mine.score.value - best.evaluation.rows[mine.index].score.value
        for mine in dropped.evaluation.rows
    ]
    assert task.estimate(dropped) == pytest.approx(best.score + sum(behind) / len(behind))
    assert task.estimate(best) == best.score


def test_if_the_budget_ends_during_a_race_the_leader_is_best() -> None:
    task = make_task(budget=lmpipe.Budget(calls=60))
    with pytest.raises(BudgetExhaustedError):
        race(task, 4, 7, 6)
    assert task.best.name != "4 demos"
    assert not task.best.complete


def test_if_the_budget_ends_during_a_race_an_earlier_better_candidate_stays_best() -> None:
    task = make_task(budget=lmpipe.Budget(calls=70))
    race(task, 8)
    with pytest.raises(BudgetExhaustedError):
        race(task, 5, 6, 7)
    assert task.best.name == "8 demos"


def test_if_the_budget_ends_during_a_race_only_whole_blocks_count(tmp_path: Path) -> None:
    results = set()
    for concurrency in (1, 64):
        run = lmpipe.compile(
            recipe(budget=lmpipe.Budget(calls=230)),
            runs=tmp_path / str(concurrency),
            concurrency=concurrency,
        )
        results.add(tuple((c.name, len(c.evaluation.rows)) for c in run.candidates))
    assert len(results) == 1


def test_unparseable_replies_score_zero_in_a_race() -> None:
    def moody(request: Request) -> str:
        return answer(request) if len(request.messages) > 4 else "no"

    task = make_task(lmpipe.ScriptedLM(moody))
    bad, good = race(task, 0, 7)
    assert bad.evaluation.failures["output"] == len(bad.evaluation.rows)
    assert task.best is good
