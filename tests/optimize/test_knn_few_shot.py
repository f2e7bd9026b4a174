"""KNNFewShot: what is in its pools, what is shown of them, and what races."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from helpers.recorder import Recorder
from helpers.scripts import answered, demos_of, kind_in, kind_of
from helpers.tasks import searched
from helpers.world import COLOURS, NameColour, TwoSteps, things

import lmpipe
from lmpipe.errors import RecipeError
from lmpipe.lm.request import Request
from lmpipe.optimize.engine.optimizer import Sizes
from lmpipe.optimize.engine.task import Task
from lmpipe.state.program_state import Demo, Retrieval


def knows(request: Request) -> str:
    return answered(request, right=True)


def near(
    student: Callable[[Request], str] = knows,
    teacher: Callable[[Request], str] = knows,
    **changes: Any,
) -> Task:
    """A search with KNNFewShot; `changes` are its settings, or parts of the recipe."""
    names = ("k", "bootstrap", "balanced", "constrained", "threshold")
    settings = {name: changes.pop(name) for name in names if name in changes}
    return searched(
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


def in_requests(**changes: Any) -> list[tuple[str, list[str]]]:
    """The kind that each request asks about, and the kinds of the demonstrations it shows."""
    seen = []

    def student(request: Request) -> str:
        seen.append((kind_of(request), [kind_in(thing) for thing, _ in demos_of(request)]))
        return knows(request)

    near(student, **changes)
    return seen


# --- what is shown


def test_the_demonstration_nearest_to_the_input_is_shown_last() -> None:
    one_of_each = [next(row for row in things(40) if kind in row.thing) for kind in COLOURS]
    for kind, shown in in_requests(train=one_of_each, k=(3,)):
        assert len(shown) == 3
        assert shown[-1] == kind


def test_all_that_are_shown_are_near() -> None:
    assert all(shown == [kind] * 4 for kind, shown in in_requests(k=(4,)))


def test_each_label_is_shown_if_they_are_to_be_balanced() -> None:
    seen = in_requests(k=(3,), balanced=True)
    assert all(sorted(shown) == ["apple", "grass", "sky"] for _, shown in seen)


def test_fixed_demonstrations_of_the_start_are_replaced() -> None:
    old = Demo(inputs={"thing": "apple number 999"}, outputs={"colour": "red"})
    program = lmpipe.Predict(NameColour)
    task = near(program=program.bind(program.state().map(demos=(old,))))
    assert task.candidates[0].state["self"].demos == ()


# --- what races


def test_each_number_of_demonstrations_is_a_candidate() -> None:
    task = near(k=(1, 3, 5))
    ks = [(c.name, c.state["self"].retrieval.k) for c in task.candidates]  # type: ignore[union-attr]
    assert ks == [("1 nearest demos", 1), ("3 nearest demos", 3), ("5 nearest demos", 5)]


@pytest.mark.parametrize("liked", [1, 3, 5])
def test_the_number_that_is_best_on_validation_wins(liked: int) -> None:
    task = near(
        lambda request: answered(request, right=len(demos_of(request)) == liked), k=(1, 3, 5)
    )
    found = task.best.state["self"].retrieval
    assert found is not None
    assert found.k == liked


@pytest.mark.parametrize(
    ("asked", "declared", "made"),
    [(True, False, True), (False, True, False), (None, True, True), (None, False, False)],
)
def test_outputs_are_constrained_as_asked_for_or_else_as_declared(
    asked: bool | None, declared: bool, made: bool
) -> None:
    task = near(constrained=asked, program=lmpipe.Predict(NameColour, constrained=declared))
    assert [c.state["self"].constrained for c in task.candidates] == [made]


# --- what is in the pools


def test_all_labeled_examples_are_in_the_pool() -> None:
    pool = retrieval(near()).pool
    assert {demo.inputs["thing"] for demo in pool} == {row.thing for row in things(40)}
    assert sources(pool) == {"labeled": 40}


def test_where_all_predictors_have_labels_no_teacher_runs() -> None:
    recorder = Recorder()
    near(watchers=[recorder])
    assert recorder.rollouts == []


def test_a_predictor_without_labels_shows_what_the_teacher_did_in_runs_that_passed() -> None:
    def teacher(request: Request) -> str:
        return answered(request, right="sky" in request.messages[-1].content)

    pool = retrieval(near(teacher=teacher, program=TwoSteps()), "describe").pool
    assert {kind_in(demo.inputs["thing"]) for demo in pool} == {"sky"}
    assert sources(pool) == {"bootstrapped": sum("sky" in row.thing for row in things(40))}


def test_without_rollouts_a_predictor_without_labels_retrieves_nothing() -> None:
    recorder = Recorder()
    task = near(program=TwoSteps(), bootstrap=False, watchers=[recorder])
    assert task.candidates[0].state["describe"].retrieval is None
    assert recorder.rollouts == []


def test_a_predictor_with_nothing_to_retrieve_keeps_what_it_shows() -> None:
    old = Demo(inputs={"thing": "sky number 999"}, outputs={"words": "a thing of some colour"})
    program = TwoSteps()
    start = program.state()
    start = start.replace(describe=start["describe"].replace(demos=(old,)))
    task = near(program=program.bind(start), bootstrap=False)
    assert task.candidates[0].state["describe"].demos == (old,)


def test_what_the_teacher_did_comes_before_labels_if_asked_for() -> None:
    def teacher(request: Request) -> str:
        return answered(request, right=kind_of(request) == "sky")

    pool = retrieval(near(teacher=teacher, bootstrap=True)).pool
    skies = sum("sky" in row.thing for row in things(40))
    assert [demo.source for demo in pool] == ["bootstrapped"] * skies + ["labeled"] * (40 - skies)


def test_a_run_below_the_threshold_is_in_no_pool() -> None:
    def half(example: lmpipe.Example, prediction: Any) -> float:
        return 0.5

    assert sources(retrieval(near(metric=half, bootstrap=True)).pool) == {"labeled": 40}


# --- what it costs


@pytest.mark.parametrize("bootstrap", [True, False])
def test_it_runs_the_program_no_more_often_than_it_says(bootstrap: bool) -> None:
    recorder = Recorder()
    task = near(k=(2, 4), bootstrap=bootstrap, watchers=[recorder])
    validated = sum(len(candidate.evaluation.rows) for candidate in task.candidates)
    optimizer = lmpipe.KNNFewShot(k=(2, 4), bootstrap=bootstrap)
    assert validated + len(recorder.rollouts) == optimizer.cost(Sizes(40, len(task.val))).runs


@pytest.mark.parametrize("k", [(), (0,), (4, 0)])
def test_settings_that_cannot_work_are_refused(k: tuple[int, ...]) -> None:
    with pytest.raises(RecipeError):
        lmpipe.KNNFewShot(k=k)
