"""LayoutSearch: which layout it finds, and what else its candidates differ in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from helpers.scripts import answered, demos_of, layout_of
from helpers.tasks import searched
from helpers.world import NameColour, TwoSteps

import lmpipe
from lmpipe.errors import ConfigError, RecipeError
from lmpipe.layouts import layout_names
from lmpipe.lm.request import Request
from lmpipe.optimize.engine.optimizer import Sizes
from lmpipe.optimize.engine.task import Task
from lmpipe.state.program_state import Retrieval


def laid(
    right: Callable[[Request], bool] = lambda request: True, *, demos: int = 2, **changes: Any
) -> Task:
    """A search with LayoutSearch, and a student that is right where a request is as it likes it."""
    student = lmpipe.ScriptedLM(lambda request: answered(request, right=right(request)))
    return searched(lmpipe.LayoutSearch(demos=demos), student=student, **changes)


@pytest.mark.parametrize("liked", layout_names())
def test_it_finds_the_layout_that_the_lm_is_right_in(liked: str) -> None:
    best = laid(lambda request: layout_of(request) == liked).best
    assert (best.state["self"].layout, best.score) == (liked, 1.0)


@pytest.mark.parametrize("liked", [True, False])
def test_it_finds_whether_constrained_outputs_are_better(liked: bool) -> None:
    best = laid(lambda request: (request.constraint is not None) == liked).best
    assert best.state["self"].constrained == liked


@pytest.mark.parametrize("liked", [0, 2])
def test_it_finds_whether_demonstrations_are_better(liked: int) -> None:
    best = laid(lambda request: len(demos_of(request)) == liked).best
    assert len(best.state["self"].demos) == liked


def test_all_combinations_race_once() -> None:
    made = [
        (state.layout, state.constrained, len(state.demos))
        for state in (candidate.state["self"] for candidate in laid().candidates)
    ]
    assert sorted(made) == sorted(
        (layout, constrained, demos)
        for layout in layout_names()
        for constrained in (True, False)
        for demos in (0, 2)
    )


def test_names_say_what_was_tried() -> None:
    names = {
        candidate.name: candidate.state["self"]
        for candidate in laid().candidates
        if candidate.name.startswith("json")
    }
    assert set(names) == {"json, constrained, demos", "json, constrained", "json, demos", "json"}
    assert all(
        ("constrained" in name, "demos" in name) == (state.constrained, bool(state.demos))
        for name, state in names.items()
    )


def test_no_other_layouts_race_than_those_asked_for() -> None:
    task = searched(lmpipe.LayoutSearch(layouts=("json",)))
    assert {candidate.state["self"].layout for candidate in task.candidates} == {"json"}


def test_all_candidates_with_demonstrations_show_the_same() -> None:
    shown = {candidate.state["self"].demos for candidate in laid(demos=3).candidates}
    assert len(shown - {()}) == 1


def test_all_predictors_of_a_program_get_the_same_layout() -> None:
    task = laid(program=TwoSteps())
    assert len(task.candidates) == 2 * len(layout_names())  # no data show the middle field
    assert all(
        candidate.state["describe"].layout == candidate.state["name"].layout
        for candidate in task.candidates
    )


def test_candidates_without_demonstrations_show_none_of_the_start() -> None:
    near = lmpipe.Demo(inputs={"thing": "apple number 999"}, outputs={"colour": "red"})
    program = lmpipe.Predict(NameColour)
    start = program.state().map(demos=(near,), retrieval=Retrieval(pool=(near,), k=1))
    counts = set()

    def right(request: Request) -> bool:
        counts.add(len(demos_of(request)))
        return True

    laid(right, program=program.bind(start))
    assert counts == {0, 2}


def test_it_runs_the_program_as_often_as_it_says() -> None:
    task = laid()
    runs = sum(len(candidate.evaluation.rows) for candidate in task.candidates)
    assert runs == lmpipe.LayoutSearch(demos=2).cost(Sizes(40, len(task.val))).runs


@pytest.mark.parametrize("settings", [{"layouts": ()}, {"demos": 0}])
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        lmpipe.LayoutSearch(**settings)


def test_an_unknown_layout_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown prompt layout 'papyrus'"):
        lmpipe.LayoutSearch(layouts=("papyrus",))
