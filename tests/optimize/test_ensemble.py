"""Ensemble: who votes, and when the vote wins."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from helpers.scripts import answered, instruction_of, kind_of
from helpers.tasks import searched
from helpers.world import COLOURS, recipe

import lmpipe
from lmpipe.errors import RecipeError
from lmpipe.lm.request import Request
from lmpipe.optimize.engine.optimizer import Cost, Sizes
from lmpipe.optimize.engine.race_rules import Racing
from lmpipe.optimize.engine.task import Task
from lmpipe.state.program_state import ProgramState, member_states


@dataclass(frozen=True)
class Tries:
    """A search whose candidates have these instructions.

    Args:
        texts: the instructions, in the order in which they race.
        again: whether each one is scored to its end after the race.
    """

    texts: tuple[str, ...]
    again: bool = False
    name: str = "tries"

    async def optimize(self, task: Task) -> ProgramState:
        states = [task.start.map(instruction=text) for text in self.texts]
        await task.race([(f"try {number}", state) for number, state in enumerate(states)])
        for state in states if self.again else ():
            await task.evaluate(state, name="again")
        return task.best.state

    def cost(self, sizes: Sizes) -> Cost:
        return Cost(2 * len(self.texts) * sizes.val, asks=1)

    def settings(self) -> dict[str, Any]:
        return {"texts": list(self.texts)}


# Each of them is wrong on another kind; of three votes two are right on all.
THREE = ("apple, grass", "grass, sky", "sky, apple")


def literal(request: Request) -> str:
    """Right on the things that the instruction names."""
    return answered(request, right=kind_of(request) in instruction_of(request))


def voted(*texts: str, again: bool = False, racing: Racing | None = None, **settings: Any) -> Task:
    optimizer = lmpipe.Ensemble(search=Tries(texts, again=again), **settings)
    return searched(optimizer, student=lmpipe.ScriptedLM(literal), racing=racing)


def compiled(runs: Path) -> lmpipe.Run:
    made = recipe(
        student=lmpipe.ScriptedLM(literal), optimizer=lmpipe.Ensemble(search=Tries(THREE))
    )
    return lmpipe.compile(made, runs=runs)


def members(task: Task) -> list[str]:
    """The instructions of the candidate that votes."""
    (state,) = [item.state for item in task.candidates if item.state.reduce is not None]
    return voices(state)


def voices(state: ProgramState) -> list[str]:
    return [member["self"].instruction for member in member_states(state)]


# --- who votes


def test_members_that_are_wrong_on_different_things_are_right_together() -> None:
    task = voted(*THREE)
    assert task.best.score == 1.0
    assert max(c.score for c in task.candidates if c.state.reduce is None) < 1.0


def test_the_best_vote_the_best_one_first() -> None:
    task = voted("nothing", "apple", "apple, grass", "apple, grass, sky", size=3)
    assert members(task) == ["apple, grass, sky", "apple, grass", "apple"]


def test_what_the_program_was_before_votes_too_if_it_is_among_the_best(tmp_path: Path) -> None:
    optimizer = lmpipe.Ensemble(search=Tries(("Which colour?",)), size=3)
    made = recipe(student=lmpipe.ScriptedLM(literal), optimizer=optimizer)
    run = lmpipe.compile(made, runs=tmp_path)
    (together,) = [c.state for c in run.candidates if c.state.reduce is not None]
    assert recipe().program.state() in member_states(together)


def test_a_size_beyond_all_candidates_lets_all_of_them_vote() -> None:
    task = voted(*THREE, size=9)
    assert sorted(members(task)) == sorted(THREE)


def test_its_name_says_how_many_vote() -> None:
    assert voted(*THREE, size=9).best.name == "the best 3 together"


def test_a_candidate_that_came_twice_has_one_vote() -> None:
    assert len(members(voted("apple", "apple", "grass", size=3))) == 2


def test_one_that_was_dropped_and_scored_to_its_end_later_has_one_vote() -> None:
    racing = Racing(risk=0.4, block=10)
    task = voted("apple, grass, sky", "nothing", again=True, racing=racing, size=3)
    assert [c.complete for c in task.candidates if voices(c.state) == ["nothing"]] == [False, True]
    assert members(task) == ["apple, grass, sky", "nothing"]


def test_one_that_a_race_dropped_votes_before_a_worse_one_that_was_not(tmp_path: Path) -> None:
    run = compiled(tmp_path)  # with the declared program, which is right on nothing
    assert [c.complete for c in run.candidates if c.name.startswith("try")].count(False) == 1
    assert sorted(voices(run.state)) == sorted(THREE)


def test_a_single_candidate_stays_alone() -> None:
    task = voted("apple")
    assert [candidate.state.reduce for candidate in task.candidates] == [None]


# --- what becomes of the vote


def test_a_vote_that_is_no_better_than_its_best_member_does_not_win() -> None:
    task = voted("apple, grass, sky", "apple", "sky")
    assert (task.best.state.reduce, task.best.score) == (None, 1.0)


@pytest.mark.parametrize("reduce", ["majority", "per_field"])
def test_the_vote_is_counted_as_asked_for(reduce: str) -> None:
    assert voted(*THREE, reduce=reduce).best.state.reduce == reduce


def test_the_saved_program_votes_as_the_compiled_one_does(tmp_path: Path) -> None:
    run = compiled(tmp_path)
    loaded = lmpipe.load(run.path, recipe().program)
    assert loaded.state() == run.state
    with lmpipe.using(lm=lmpipe.ScriptedLM(literal)):
        for kind, colour in COLOURS.items():
            answers = [program(thing=f"{kind} number 7") for program in (run.program, loaded)]
            assert [answer.colour for answer in answers] == [colour, colour]


def test_the_saved_program_asks_each_member(tmp_path: Path) -> None:
    loaded = lmpipe.load(compiled(tmp_path).path, recipe().program)
    lm = lmpipe.ScriptedLM(literal)
    with lmpipe.using(lm=lm):
        loaded(thing="sky number 7")
    asked = [instruction_of(request).splitlines()[0] for request in lm.requests]
    assert sorted(asked) == sorted(THREE)


# --- what it says of itself


def test_it_costs_its_search_and_a_validation_of_the_result_and_of_each_member() -> None:
    cost = lmpipe.Ensemble(search=Tries(THREE), size=4).cost(Sizes(40, 30))
    assert cost == Cost(6 * 30 + (1 + 4) * 30, asks=1, per_result=4)


def test_its_settings_hold_those_of_its_search() -> None:
    assert lmpipe.Ensemble(search=Tries(("apple",)), size=2).settings() == {
        "name": "ensemble",
        "search": {"name": "tries", "texts": ["apple"]},
        "size": 2,
        "reduce": "majority",
    }


@pytest.mark.parametrize("settings", [{"size": 1}, {"search": lmpipe.Ensemble()}])
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        lmpipe.Ensemble(**settings)
