"""LayoutSearch: which layout it finds, and how its candidates differ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from helpers.scripts import demos_of, layout_of, reply_to
from helpers.tasks import run_optimizer
from helpers.world import NameColour, TwoSteps

import lmpipe
from lmpipe.errors import ConfigError, RecipeError
from lmpipe.layouts.suited_layouts import TRIED_LAYOUTS, layouts_for
from lmpipe.lm.request import Request
from lmpipe.optimize.engine.optimizer import Sizes
from lmpipe.optimize.engine.task import Task
from lmpipe.state.program_state import PredictorState, Retrieval

TRIED = layouts_for(lmpipe.ScriptedLM())[:TRIED_LAYOUTS]


def search(
    right: Callable[[Request], bool] = lambda request: True, *, demos: int = 2, **changes: Any
) -> Task:
    """Search with LayoutSearch and a student that is right on some requests.

    Args:
        right: whether the student is right on a request.
        demos: the setting of the search.
        changes: parts of the recipe.
    """
    student = lmpipe.ScriptedLM(lambda request: reply_to(request, right=right(request)))
    return run_optimizer(lmpipe.LayoutSearch(demos=demos), student=student, **changes)


def states_of(task: Task) -> list[PredictorState]:
    return [candidate.state["self"] for candidate in task.candidates]


@pytest.mark.parametrize("liked", TRIED)
def test_the_layout_that_suits_the_lm_is_found(liked: str) -> None:
    best = search(lambda request: layout_of(request) == liked).best
    assert (best.state["self"].layout, best.score) == (liked, 1.0)


@pytest.mark.parametrize("liked", [True, False])
def test_it_is_found_whether_constrained_outputs_are_better(liked: bool) -> None:
    best = search(lambda request: (request.constraint is not None) == liked).best
    assert best.state["self"].constrained == liked


@pytest.mark.parametrize("liked", [0, 2])
def test_it_is_found_whether_demonstrations_are_better(liked: int) -> None:
    best = search(lambda request: len(demos_of(request)) == liked).best
    assert len(best.state["self"].demos) == liked


def test_all_combinations_race_once() -> None:
    made = [
        (state.layout, state.constrained, len(state.demos))
        for state in (candidate.state["self"] for candidate in search().candidates)
    ]
    assert sorted(made) == sorted(
        (layout, constrained, demos)
        for layout in TRIED
        for constrained in (True, False)
        for demos in (0, 2)
    )


def test_candidate_names_say_what_is_tried() -> None:
    names = {
        candidate.name: candidate.state["self"]
        for candidate in search().candidates
        if candidate.name.startswith("json")
    }
    assert set(names) == {"json, constrained, demos", "json, constrained", "json, demos", "json"}
    assert all(
        ("constrained" in name, "demos" in name) == (state.constrained, bool(state.demos))
        for name, state in names.items()
    )


def test_without_labels_no_candidate_is_named_after_demonstrations() -> None:
    names = {candidate.name for candidate in search(program=TwoSteps()).candidates}
    assert names == {f"{layout}{words}" for layout in TRIED for words in ("", ", constrained")}


def test_without_demonstrations_to_try_only_layouts_and_constraints_race() -> None:
    task = search(demos=0)
    made = sorted((state.layout, state.constrained, len(state.demos)) for state in states_of(task))
    assert made == sorted((layout, held, 0) for layout in TRIED for held in (True, False))
    runs = sum(len(candidate.evaluation.rows) for candidate in task.candidates)
    assert runs == lmpipe.LayoutSearch(demos=0).cost(Sizes(40, len(task.val))).runs


def test_only_the_given_layouts_race() -> None:
    task = run_optimizer(lmpipe.LayoutSearch(layouts=("json",)))
    assert {candidate.state["self"].layout for candidate in task.candidates} == {"json"}


def test_layouts_that_are_named_race_on_any_lm() -> None:
    layouts = ("xml", "tools", "two-step")
    student = lmpipe.ScriptedLM(lambda request: reply_to(request, right=True))
    task = run_optimizer(lmpipe.LayoutSearch(layouts=layouts, demos=2), student=student)
    made = {(state.layout, state.constrained, len(state.demos)) for state in states_of(task)}
    assert made == {
        (layout, constrained, demos)
        for layout in layouts
        for constrained in (True, False)
        for demos in (0, 2)
        if not (constrained and layout == "tools")
    }
    assert all(candidate.score == 1.0 for candidate in task.candidates)


def test_all_candidates_with_demonstrations_show_the_same() -> None:
    shown = {candidate.state["self"].demos for candidate in search(demos=3).candidates}
    assert len(shown - {()}) == 1


def test_all_predictors_of_a_program_get_the_same_layout() -> None:
    task = search(program=TwoSteps())
    # The data lack the field between the steps, so no candidate has demonstrations.
    assert len(task.candidates) == 2 * len(TRIED)
    assert all(
        candidate.state["describe"].layout == candidate.state["name"].layout
        for candidate in task.candidates
    )


def test_candidates_without_demonstrations_do_not_show_those_of_the_start() -> None:
    near = lmpipe.Demo(inputs={"thing": "apple number 999"}, outputs={"colour": "red"})
    program = lmpipe.Predict(NameColour)
    start = program.state().map(demos=(near,), retrieval=Retrieval(pool=(near,), k=1))
    counts = set()

    def right(request: Request) -> bool:
        counts.add(len(demos_of(request)))
        return True

    search(right, program=program.bind(start))
    assert counts == {0, 2}


def test_its_cost_states_the_runs_of_the_program() -> None:
    task = search()
    runs = sum(len(candidate.evaluation.rows) for candidate in task.candidates)
    assert runs == lmpipe.LayoutSearch(demos=2).cost(Sizes(40, len(task.val))).runs


@pytest.mark.parametrize("settings", [{"layouts": ()}, {"demos": -1}])
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        lmpipe.LayoutSearch(**settings)


def test_an_unknown_layout_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown prompt layout 'papyrus'"):
        lmpipe.LayoutSearch(layouts=("papyrus",))
