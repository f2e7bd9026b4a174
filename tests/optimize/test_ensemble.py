"""Ensemble: which candidates vote, and when the vote wins."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from helpers.scripts import instruction_of, kind_of, reply_to
from helpers.tasks import run_optimizer
from helpers.world import COLOURS, recipe

import lmpipe
from lmpipe.errors import RecipeError
from lmpipe.lm.request import Request
from lmpipe.optimize.engine.optimizer import Cost, Sizes
from lmpipe.optimize.engine.race_rules import Racing
from lmpipe.optimize.engine.task import Task
from lmpipe.state.program_state import ProgramState, member_states


@dataclass(frozen=True)
class TryInstructions:
    """A search whose candidates have given instructions.

    Args:
        texts: the instructions, in the order in which they race.
        again: whether each one is evaluated on all examples after the race.
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


# Each of them is wrong on another kind of thing, so two of three votes are always right.
THREE = ("apple, grass", "grass, sky", "sky, apple")


def right_on_named_kinds(request: Request) -> str:
    """Reply right on the kinds of things that the instruction names."""
    return reply_to(request, right=kind_of(request) in instruction_of(request))


def search(*texts: str, again: bool = False, racing: Racing | None = None, **settings: Any) -> Task:
    optimizer = lmpipe.Ensemble(search=TryInstructions(texts, again=again), **settings)
    return run_optimizer(optimizer, student=lmpipe.ScriptedLM(right_on_named_kinds), racing=racing)


def compile_ensemble(runs: Path) -> lmpipe.Run:
    made = recipe(
        student=lmpipe.ScriptedLM(right_on_named_kinds),
        optimizer=lmpipe.Ensemble(search=TryInstructions(THREE)),
    )
    return lmpipe.compile(made, runs=runs)


def ensemble_instructions(task: Task) -> list[str]:
    """Return the instructions of the only candidate that is an ensemble."""
    (state,) = [item.state for item in task.candidates if item.state.reduce is not None]
    return member_instructions(state)


def member_instructions(state: ProgramState) -> list[str]:
    return [member["self"].instruction for member in member_states(state)]


# --- which candidates vote


def test_members_that_are_wrong_on_different_things_are_right_together() -> None:
    task = search(*THREE)
    assert task.best.score == 1.0
    assert max(c.score for c in task.candidates if c.state.reduce is None) < 1.0


def test_the_best_candidates_vote_the_best_one_first() -> None:
    task = search("nothing", "apple", "apple, grass", "apple, grass, sky", size=3)
    assert ensemble_instructions(task) == ["apple, grass, sky", "apple, grass", "apple"]


def test_a_baseline_votes_too_if_it_is_among_the_best(tmp_path: Path) -> None:
    optimizer = lmpipe.Ensemble(search=TryInstructions(("Which colour?",)), size=3)
    made = recipe(student=lmpipe.ScriptedLM(right_on_named_kinds), optimizer=optimizer)
    run = lmpipe.compile(made, runs=tmp_path)
    (together,) = [c.state for c in run.candidates if c.state.reduce is not None]
    assert recipe().program.state() in member_states(together)


def test_with_a_size_above_the_number_of_candidates_all_vote() -> None:
    task = search(*THREE, size=9)
    assert sorted(ensemble_instructions(task)) == sorted(THREE)


def test_its_name_says_how_many_vote() -> None:
    assert search(*THREE, size=9).best.name == "the best 3 together"


def test_equal_candidates_have_one_vote() -> None:
    assert len(ensemble_instructions(search("apple", "apple", "grass", size=3))) == 2


def test_a_candidate_that_was_dropped_and_later_fully_scored_has_one_vote() -> None:
    racing = Racing(risk=0.4, block=10)
    task = search("apple, grass, sky", "nothing", again=True, racing=racing, size=3)
    assert [c.complete for c in task.candidates if member_instructions(c.state) == ["nothing"]] == [
        False,
        True,
    ]
    assert ensemble_instructions(task) == ["apple, grass, sky", "nothing"]


def test_a_dropped_candidate_votes_before_a_worse_complete_one(tmp_path: Path) -> None:
    run = compile_ensemble(tmp_path)  # includes the declared program, which is always wrong
    assert [c.complete for c in run.candidates if c.name.startswith("try")].count(False) == 1
    assert sorted(member_instructions(run.state)) == sorted(THREE)


def test_a_single_candidate_makes_no_ensemble() -> None:
    task = search("apple")
    assert [candidate.state.reduce for candidate in task.candidates] == [None]


# --- when the vote wins


def test_a_vote_must_beat_its_best_member_to_win() -> None:
    task = search("apple, grass, sky", "apple", "sky")
    assert (task.best.state.reduce, task.best.score) == (None, 1.0)


@pytest.mark.parametrize("reduce", ["majority", "per_field"])
def test_the_reduce_function_is_the_one_asked_for(reduce: str) -> None:
    assert search(*THREE, reduce=reduce).best.state.reduce == reduce


def test_the_saved_program_votes_like_the_compiled_one(tmp_path: Path) -> None:
    run = compile_ensemble(tmp_path)
    loaded = lmpipe.load(run.path, recipe().program)
    assert loaded.state() == run.state
    with lmpipe.using(lm=lmpipe.ScriptedLM(right_on_named_kinds)):
        for kind, colour in COLOURS.items():
            answers = [program(thing=f"{kind} number 7") for program in (run.program, loaded)]
            assert [answer.colour for answer in answers] == [colour, colour]


def test_the_saved_program_runs_each_member(tmp_path: Path) -> None:
    loaded = lmpipe.load(compile_ensemble(tmp_path).path, recipe().program)
    lm = lmpipe.ScriptedLM(right_on_named_kinds)
    with lmpipe.using(lm=lm):
        loaded(thing="sky number 7")
    asked = [instruction_of(request).splitlines()[0] for request in lm.requests]
    assert sorted(asked) == sorted(THREE)


# --- cost and settings


def test_its_cost_is_the_search_and_a_validation_of_the_result_and_of_each_member() -> None:
    cost = lmpipe.Ensemble(search=TryInstructions(THREE), size=4).cost(Sizes(40, 30))
    assert cost == Cost(6 * 30 + (1 + 4) * 30, asks=1, per_result=4)


def test_its_settings_include_those_of_its_search() -> None:
    assert lmpipe.Ensemble(search=TryInstructions(("apple",)), size=2).settings() == {
        "name": "ensemble",
        "search": {"name": "tries", "texts": ["apple"]},
        "size": 2,
        "reduce": "majority",
    }


@pytest.mark.parametrize(
    "settings", [{"size": 1}, {"reduce": "mean"}, {"search": lmpipe.Ensemble()}]
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        lmpipe.Ensemble(**settings)
