"""What is checked of an optimizer that is given to another one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import lmpipe
from lmpipe.errors import RecipeError

PARTS: dict[str, Callable[[Any], object]] = {
    "Auto(weights": lambda given: lmpipe.Auto(weights=given),
    "BetterTogether(prompt": lambda given: lmpipe.BetterTogether(prompt=given),
    "BetterTogether(weights": lambda given: lmpipe.BetterTogether(weights=given),
    "Chain(stages": lambda given: lmpipe.Chain(stages=(lmpipe.LayoutSearch(), given)),
    "Ensemble(search": lambda given: lmpipe.Ensemble(search=given),
}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(
    ("given", "remedy"),
    [
        ("gepa", "must be an optimizer, such as lmpipe.RandomSearch"),
        (7, "must be an optimizer, such as lmpipe.RandomSearch"),
        (lmpipe.RandomSearch, "must be an instance, such as RandomSearch"),
    ],
)
def test_a_part_that_is_not_an_optimizer_is_named(part: str, given: Any, remedy: str) -> None:
    with pytest.raises(RecipeError) as caught:
        PARTS[part](given)
    assert str(caught.value).startswith(f"{part}=")
    assert remedy in str(caught.value)


def test_auto_takes_no_optimizer_of_weights() -> None:
    assert lmpipe.Auto(weights=None).settings()["weights"] is None
