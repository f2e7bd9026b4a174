"""RandomSearch: what its candidates show, and how they are named."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.tasks import run_optimizer
from helpers.world import TwoSteps

import lmpipe
from lmpipe.errors import InputError
from lmpipe.optimize.shared.candidate_names import demos_words


def test_candidate_names_say_how_many_demonstrations_each_step_really_shows() -> None:
    # The data lack the words that `describe` writes, and only rollouts give `name` any.
    task = run_optimizer(lmpipe.RandomSearch(candidates=6, bootstrapped=3), program=TwoSteps())
    for candidate in task.candidates:
        assert candidate.name.endswith(f", {demos_words(candidate.state)}")
    assert any("for name" in candidate.name for candidate in task.candidates)


def test_the_first_candidate_is_the_program_with_labeled_demonstrations() -> None:
    task = run_optimizer(lmpipe.RandomSearch(candidates=2, demos=6, bootstrapped=0))
    labeled = run_optimizer(lmpipe.LabeledFewShot(demos=6))
    first, start = task.candidates[0].state["self"], labeled.start["self"]
    assert (first.layout, first.constrained) == (start.layout, start.constrained)
    assert len(first.demos) == 6
    assert {demo.source for demo in first.demos} == {"labeled"}


@pytest.mark.parametrize(
    "settings",
    [
        {"candidates": 0},
        {"demos": 0},
        {"bootstrapped": -1},
        {"layouts": ()},
        {"layouts": ("x",)},
        {"constrained_share": 5},
        {"retrieval_share": -0.1},
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        lmpipe.RandomSearch(**settings)
