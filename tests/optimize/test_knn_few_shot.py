"""KNNFewShot: what is in the pools, what is shown, and what races."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from helpers.recorder import Recorder
from helpers.scripts import demos_of, kind_in, kind_of, reply_to
from helpers.tasks import run_optimizer
from helpers.world import COLOURS, NameColour, TwoSteps, things

import lmpipe
from lmpipe.errors import RecipeError
from lmpipe.lm.request import Request
from lmpipe.optimize.engine.optimizer import Sizes
from lmpipe.optimize.engine.task import Task
from lmpipe.state.program_state import Demo, Retrieval


def always_right(request: Request) -> str:
    return reply_to(request, right=True)


def search(
    student: Callable[[Request], str] = always_right,
    teacher: Callable[[Request], str] = always_right,
    **changes: Any,
) -> Task:
    """Search with KNNFewShot; `changes` are its settings or parts of the recipe."""
    names = ("k", "bootstrap", "balanced", "constrained", "threshold")
    settings = {name: changes.pop(name) for name in names if name in changes}
    return run_optimizer(
        lmpipe.KNNFewShot(**{"k": (2,), **settings}),
        student=lmpipe.ScriptedLM(student),
        teacher=lmpipe.ScriptedLM(teacher, name="teacher"),
        **changes,
    )


def retrieval(task: Task, path: str = "self") -> Retrieval:
    found = task.candidates[0].state[path].retrieval
    assert found is not None
    return found


def sources(pool: tuple[Demo, ...]) -> Mapping[str, int]:
    return Counter(demo.source for demo in pool)


def kinds_in_requests(**changes: Any) -> list[tuple[str, list[str]]]:
    """Return the kind that each request asks about, and the kinds of its demonstrations."""
    seen = []

    def student(request: Request) -> str:
        seen.append((kind_of(request), [kind_in(thing) for thing, _ in demos_of(request)]))
        return always_right(request)

    search(student, **changes)
    return seen


# --- what is shown


def test_the_demonstration_nearest_to_the_input_is_shown_last() -> None:
    one_of_each = [next(row for row in things(40) if kind in row.thing) for kind in COLOURS]
    for kind, shown in kinds_in_requests(train=one_of_each, k=(3,)):
        assert len(shown) == 3
        assert shown[-1] == kind


def test_all_demonstrations_shown_are_near() -> None:
    assert all(shown == [kind] * 4 for kind, shown in kinds_in_requests(k=(4,)))


def test_if_balanced_each_label_is_shown() -> None:
    seen = kinds_in_requests(k=(3,), balanced=True)
    assert all(sorted(shown) == ["apple", "grass", "sky"] for _, shown in seen)


def test_fixed_demonstrations_of_the_start_are_replaced() -> None:
    old = Demo(inputs={"thing": "apple number 999"}, outputs={"colour": "red"})
    program = lmpipe.Predict(NameColour)
    task = search(program=program.bind(program.state().map(demos=(old,))))
    assert task.candidates[0].state["self"].demos == ()


# --- what races


def test_each_number_of_demonstrations_is_a_candidate() -> None:
    task = search(k=(1, 3, 5), constrained=False)
    ks = [(c.name, c.state["self"].retrieval.k) for c in task.candidates]  # type: ignore[union-attr]
    assert ks == [("1 nearest demo", 1), ("3 nearest demos", 3), ("5 nearest demos", 5)]


def test_numbers_beyond_the_pool_are_one_candidate_named_after_the_pool() -> None:
    task = search(train=things(3), k=(2, 4, 8), constrained=False)
    assert [candidate.name for candidate in task.candidates] == [
        "2 nearest demos",
        "3 nearest demos",
    ]


@pytest.mark.parametrize("liked", [1, 3, 5])
def test_the_number_of_demonstrations_that_is_best_on_validation_wins(liked: int) -> None:
    task = search(
        lambda request: reply_to(request, right=len(demos_of(request)) == liked), k=(1, 3, 5)
    )
    found = task.best.state["self"].retrieval
    assert found is not None
    assert found.k == liked


@pytest.mark.parametrize(
    ("asked", "declared", "made"),
    [(True, False, [True]), (False, True, [False]), (None, False, [True, False])],
)
def test_outputs_are_constrained_as_set_or_else_in_every_second_candidate(
    asked: bool | None, declared: bool, made: list[bool]
) -> None:
    task = search(constrained=asked, program=lmpipe.Predict(NameColour, constrained=declared))
    assert [c.state["self"].constrained for c in task.candidates] == made


# --- what is in the pools


def test_all_labeled_examples_are_in_the_pool() -> None:
    pool = retrieval(search()).pool
    assert {demo.inputs["thing"] for demo in pool} == {row.thing for row in things(40)}
    assert sources(pool) == {"labeled": 40}


def test_if_all_predictors_have_labels_there_are_no_rollouts() -> None:
    recorder = Recorder()
    search(watchers=[recorder])
    assert recorder.rollouts == []


def test_a_predictor_without_labels_shows_passed_rollouts() -> None:
    def teacher(request: Request) -> str:
        return reply_to(request, right="sky" in request.messages[-1].content)

    pool = retrieval(search(teacher=teacher, program=TwoSteps()), "describe").pool
    assert {kind_in(demo.inputs["thing"]) for demo in pool} == {"sky"}
    assert sources(pool) == {"bootstrapped": sum("sky" in row.thing for row in things(40))}


def test_without_rollouts_a_predictor_without_labels_retrieves_nothing() -> None:
    recorder = Recorder()
    task = search(program=TwoSteps(), bootstrap=False, watchers=[recorder])
    assert task.candidates[0].state["describe"].retrieval is None
    assert recorder.rollouts == []


def test_a_predictor_without_a_pool_keeps_its_demonstrations() -> None:
    old = Demo(inputs={"thing": "sky number 999"}, outputs={"words": "a thing of some colour"})
    program = TwoSteps()
    start = program.state()
    start = start.replace(describe=start["describe"].replace(demos=(old,)))
    task = search(program=program.bind(start), bootstrap=False)
    assert task.candidates[0].state["describe"].demos == (old,)


def test_with_bootstrap_passed_rollouts_come_before_labeled_examples() -> None:
    def teacher(request: Request) -> str:
        return reply_to(request, right=kind_of(request) == "sky")

    pool = retrieval(search(teacher=teacher, bootstrap=True)).pool
    skies = sum("sky" in row.thing for row in things(40))
    assert [demo.source for demo in pool] == ["bootstrapped"] * skies + ["labeled"] * (40 - skies)


def test_rollouts_below_the_threshold_are_not_in_the_pool() -> None:
    def half(example: lmpipe.Example, prediction: Any) -> float:
        return 0.5

    assert sources(retrieval(search(metric=half, bootstrap=True)).pool) == {"labeled": 40}


# --- cost and settings


@pytest.mark.parametrize("bootstrap", [True, False])
def test_its_cost_states_the_runs_of_the_program(bootstrap: bool) -> None:
    recorder = Recorder()
    task = search(k=(2, 4), bootstrap=bootstrap, watchers=[recorder])
    validated = sum(len(candidate.evaluation.rows) for candidate in task.candidates)
    optimizer = lmpipe.KNNFewShot(k=(2, 4), bootstrap=bootstrap)
    assert validated + len(recorder.rollouts) == optimizer.cost(Sizes(40, len(task.val))).runs


@pytest.mark.parametrize("k", [(), (0,), (4, 0)])
def test_settings_out_of_range_are_refused(k: tuple[int, ...]) -> None:
    with pytest.raises(RecipeError):
        lmpipe.KNNFewShot(k=k)
