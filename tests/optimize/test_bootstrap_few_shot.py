"""BootstrapFewShot: how many demonstrations it shows, and where they come from."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.tasks import make_task
from helpers.world import answer, things

import lmpipe
from lmpipe.data.identity import ExampleIdentity
from lmpipe.errors import RecipeError
from lmpipe.lm.concurrency import loop
from lmpipe.lm.request import Request


def found(**settings: Any) -> tuple[lmpipe.Demo, ...]:
    def student(request: Request) -> str:
        return answer(request)

    task = make_task(student=lmpipe.ScriptedLM(student))
    state = loop.run_sync(lmpipe.BootstrapFewShot(**settings).optimize(task))
    return state["self"].demos


def sources(demos: tuple[lmpipe.Demo, ...]) -> list[str]:
    return [demo.source for demo in demos]


@pytest.mark.parametrize(("bootstrapped", "labeled"), [(2, 4), (4, 2), (3, 0), (0, 3)])
def test_labeled_demonstrations_are_shown_in_addition_to_bootstrapped_ones(
    bootstrapped: int, labeled: int
) -> None:
    shown = sources(found(bootstrapped=bootstrapped, labeled=labeled))
    assert shown == ["bootstrapped"] * bootstrapped + ["labeled"] * labeled


def test_no_example_is_shown_twice() -> None:
    shown = [demo.inputs["thing"] for demo in found(bootstrapped=6, labeled=34)]
    assert len(shown) == len(set(shown)) == 40


def test_demonstrations_say_which_example_they_were_made_from() -> None:
    rows = {row.thing: ExampleIdentity.of(row) for row in things(40)}
    for demo in found(bootstrapped=2, labeled=2):
        identity = rows[demo.inputs["thing"]]
        assert identity is not None
        assert demo.example == identity.digest


@pytest.mark.parametrize(
    "settings", [{"labeled": -1}, {"bootstrapped": -1}, {"rounds": 0}, {"threshold": 2}]
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        lmpipe.BootstrapFewShot(**settings)
