"""Wrong parts of a recipe: one error that names the part and what to write."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.world import NameColour, TwoSteps, recipe, student

import lmpipe
from lmpipe.compiling.recipe import prepare
from lmpipe.errors import MetricError, RecipeError


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("budget", 100, "budget must be lmpipe.Budget"),
        ("budget", "calls=100", "budget must be lmpipe.Budget"),
        ("optimizer", lmpipe.RandomSearch, r"optimizer must be an instance, such as RandomSearch"),
        ("optimizer", 7, "optimizer must be an optimizer or its name"),
        ("servers", lmpipe.ServerSpec(model="m"), "servers must be a list of lmpipe.ServerSpec"),
        ("racing", True, "racing must be lmpipe.Racing"),
        ("name", 5, "name must be text"),
    ],
)
def test_a_part_of_another_kind_is_named_with_its_remedy(name: str, value: Any, words: str) -> None:
    with pytest.raises(RecipeError, match=rf"Recipe\({name}=.*{words}"):
        recipe(**{name: value})


class Forgetful(TwoSteps):
    """Never returns what it found."""

    def forward(self, thing: str) -> Any:
        def found() -> str:
            return self.describe(thing=thing).words

        self.name(thing=thing, words=found())


class Outlined(TwoSteps):
    """Is not written yet."""

    def forward(self, thing: str) -> Any:
        raise NotImplementedError


def test_a_program_that_returns_nothing_is_refused_before_any_call() -> None:
    lm = student()
    with pytest.raises(RecipeError, match=r"Forgetful\.forward returns nothing.* return"):
        prepare(recipe(program=Forgetful(), student=lm))
    assert not lm.requests


@pytest.mark.parametrize("program", [TwoSteps(), Outlined(), lmpipe.Predict(NameColour)])
def test_other_programs_are_not_refused_for_what_they_return(program: lmpipe.Module) -> None:
    prepare(recipe(program=program))


def test_a_metric_with_other_parameters_is_refused_before_any_call() -> None:
    with pytest.raises(MetricError, match=r"a metric takes \(example, prediction\)"):
        prepare(recipe(metric=lambda prediction: 1.0))


def test_a_program_in_place_of_a_recipe_is_one_clear_error() -> None:
    program: Any = TwoSteps()
    with pytest.raises(RecipeError, match=r"expected a recipe.*lmpipe\.Recipe\(program=…"):
        lmpipe.compile(program)
