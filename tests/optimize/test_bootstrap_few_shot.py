"""BootstrapFewShot: how many demonstrations it shows, and where they come from."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.scripts import demos_of, question_of, reply_to
from helpers.tasks import make_task
from helpers.world import Describe, answer, things

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


class NameFromWords(lmpipe.Signature):
    """Which colour has the thing with these words?"""

    words: str = lmpipe.Input()
    colour: str = lmpipe.Output()


class WordsOnly(lmpipe.Module):
    """Describe, then name the colour of what was described."""

    def __init__(self) -> None:
        self.describe = lmpipe.Predict(Describe)
        self.name = lmpipe.Predict(NameFromWords)

    def forward(self, thing: str) -> NameFromWords:
        return self.name(words=self.describe(thing=thing).words + f" of {thing}")


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
        assert demo.example == rows[demo.inputs["thing"]].digest


def test_a_step_for_which_nothing_is_found_keeps_the_demonstrations_that_it_shows() -> None:
    # No run passes, and the data lack the words that `describe` writes.
    kept = lmpipe.Demo(inputs={"thing": "snow number 900"}, outputs={"words": "white and cold"})
    program = WordsOnly()
    start = program.state()
    shown = start.replace(describe=start["describe"].replace(demos=(kept,)))
    task = make_task(
        student=lmpipe.ScriptedLM(lambda request: "## words\nx\n## colour\nnone"),
        program=program.bind(shown),
    )
    state = loop.run_sync(lmpipe.BootstrapFewShot().optimize(task))
    assert state["describe"].demos == (kept,)


def test_no_step_is_shown_its_part_of_a_run_on_the_same_example() -> None:
    # The words differ from run to run, so the inputs of `name` do not tell the example.
    def student(request: Request) -> str:
        if request.messages[0].content.startswith("Describe"):
            return f"## words\nwords of {'a rollout' if collecting else 'a trial'}"
        return reply_to(request, right=True)

    lm = lmpipe.ScriptedLM(student)
    task = make_task(student=lm, program=WordsOnly())
    collecting = True
    state = loop.run_sync(lmpipe.BootstrapFewShot(bootstrapped=4, labeled=0).optimize(task))
    collecting = False
    lm.requests.clear()
    made = {demo.example for demo in state["name"].demos}
    examples = [row for row in task.train if ExampleIdentity.of(row).digest in made]
    loop.run_sync(task.trial([state], examples))
    shown = [len(demos_of(r)) for r in lm.requests if "words of a trial" in question_of(r)]
    assert (len(made), shown) == (4, [3] * 4)


@pytest.mark.parametrize(
    "settings", [{"labeled": -1}, {"bootstrapped": -1}, {"rounds": 0}, {"threshold": 2}]
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        lmpipe.BootstrapFewShot(**settings)
