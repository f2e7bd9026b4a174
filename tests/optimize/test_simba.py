"""SIMBA: which runs it learns from, what it makes of them, and what wins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from helpers.recorder import Recorder
from helpers.scripts import (
    ScriptedProposer,
    instruction_of,
    kind_in,
    kind_of,
    number_of,
    reply_to,
)
from helpers.tasks import make_task, run_optimizer
from helpers.world import COLOURS, NameColour, TwoSteps

import lmpipe
from lmpipe.errors import BudgetExhaustedError, RecipeError
from lmpipe.lm.concurrency.loop import run_sync
from lmpipe.lm.request import Request
from lmpipe.optimize.engine.task import Task

DECLARED = "Which colour does the thing have?"


def half_score(example: lmpipe.Example, prediction: Any) -> float:
    """Score 0.5 for a right colour: no run passes, so none becomes a demonstration."""
    return 0.5 * float(example.colour == prediction.colour)


def right_every_second_time(request: Request) -> str:
    """Reply right in every second sample, whatever the prompt."""
    return reply_to(request, right=request.sample % 2 == 1)


def always(*, right: bool) -> Callable[[Request], str]:
    return lambda request: reply_to(request, right=right)


def search(
    student: Callable[[Request], str],
    write: Callable[[dict[str, str]], str | None] = lambda asked: "Look well.",
    **changes: Any,
) -> tuple[Task, ScriptedProposer]:
    """Search with SIMBA; `changes` are its settings or parts of the recipe."""
    parts = ("program", "metric", "watchers")
    others = {name: changes.pop(name) for name in parts if name in changes}
    settings: dict[str, Any] = {"steps": 1, "batch": 8, "samples": 2, "candidates_per_step": 2}
    proposer = ScriptedProposer(write)
    task = run_optimizer(
        lmpipe.SIMBA(**{**settings, **changes}),
        student=lmpipe.ScriptedLM(student),
        proposer=proposer.lm,
        **{"metric": half_score, **others},
    )
    return task, proposer


def instructions_of(task: Task, path: str = "self") -> set[str]:
    return {candidate.state[path].instruction for candidate in task.candidates}


def demos_shown(task: Task) -> set[lmpipe.Demo]:
    return {demo for candidate in task.candidates for demo in candidate.state["self"].demos}


# --- the runs


def test_each_example_of_a_mini_batch_is_run_once_per_sample() -> None:
    runs: Counter[int] = Counter()

    def student(request: Request) -> str:
        if request.sample:  # sample 0 also runs the start on another mini-batch
            runs[number_of(request)] += 1
        return reply_to(request, right=False)

    search(student, batch=5, samples=4)
    assert list(runs.values()) == [3] * 5


def test_no_sample_comes_twice_in_a_search() -> None:
    samples: Counter[int] = Counter()

    def student(request: Request) -> str:
        samples[request.sample] += 1
        return reply_to(request, right=False)

    search(student, steps=3, batch=5, samples=2)
    del samples[0]
    assert samples == {1: 5, 2: 5, 3: 5, 4: 5, 5: 5}


@pytest.mark.parametrize("batch", [8, 100])
def test_new_states_are_run_on_other_examples_than_they_were_learned_from(batch: int) -> None:
    # A batch larger than half of the training set must not make the two the same.
    recorder = Recorder()
    search(always(right=False), batch=batch, samples=2, watchers=[recorder])
    things = [row.example.thing for row in recorder.of("trial")]
    size = min(batch, 20)
    learned, other = set(things[: 2 * size]), set(things[2 * size :])
    assert (len(learned), len(other)) == (size, size)
    assert not learned & other


def test_candidate_names_say_what_a_state_learned() -> None:
    task, _ = search(right_every_second_time)
    names = [candidate.name for candidate in task.candidates]
    assert {name.split(": ")[1] for name in names} == {"as at the start", "new instruction"}


def test_later_steps_build_on_better_states() -> None:
    def student(request: Request) -> str:
        knows = f"{kind_of(request)} is known" in instruction_of(request)
        return reply_to(request, right=knows or request.sample % 2 == 1)

    def write(asked: dict[str, str]) -> str:
        return f"{kind_in(asked['bad'])} is known"

    task, _ = search(student, write, steps=6, sampling_temperature=0.02)
    assert task.best.score == 0.5
    assert all(f"{kind} is known" in task.best.state["self"].instruction for kind in COLOURS)


# --- what it learns from


def test_the_example_whose_runs_differ_most_is_used() -> None:
    marks = {"apple": (0.4, 0.6), "grass": (0.1, 0.9), "sky": (0.5, 0.5)}

    def graded(example: lmpipe.Example, prediction: Any) -> float:
        return marks[kind_in(example.thing)][prediction.colour == example.colour]

    _, proposer = search(
        right_every_second_time, candidates_per_step=1, steps=4, batch=20, metric=graded
    )
    assert [kind_in(asked["bad"]) for asked in proposer.asked] == ["grass"] * 4


def test_the_proposer_sees_the_good_and_the_bad_run_of_one_example() -> None:
    _, proposer = search(right_every_second_time, candidates_per_step=1)
    (asked,) = proposer.asked
    good, bad = asked["good"].splitlines(), asked["bad"].splitlines()
    assert good[0] == bad[0]
    assert (good[-1], bad[-1]) == ("score: 0.50", "score: 0.00")


def test_a_run_without_a_better_one_gives_advice() -> None:
    task, proposer = search(always(right=False), candidates_per_step=1)
    (asked,) = proposer.asked
    assert asked["good"] == "none"
    assert asked["bad"].splitlines()[-1] == "score: 0.00"
    assert instructions_of(task) == {DECLARED, f"{DECLARED}\nLook well."}


def test_the_advice_of_a_lone_run_improves_the_state_that_made_it() -> None:
    _, proposer = search(always(right=False), lambda asked: f"{len(asked['instruction'])}", steps=4)
    shown = {asked["instruction"] for asked in proposer.asked}
    assert len(shown) > 1
    assert all(text.startswith(DECLARED) for text in shown)


def test_the_proposer_is_not_asked_if_all_runs_pass() -> None:
    _, proposer = search(always(right=True), steps=3, threshold=0.5)
    assert proposer.asked == []


def test_runs_that_fail_and_runs_that_pass_are_learned_from_in_turn() -> None:
    def student(request: Request) -> str:
        return reply_to(request, right=kind_of(request) != "apple")

    task, proposer = search(student, threshold=0.5, batch=20, candidates_per_step=2)
    assert len(proposer.asked) == 1
    assert kind_in(proposer.asked[0]["bad"]) == "apple"
    assert demos_shown(task)


# --- advice


def test_each_predictors_advice_is_added_to_its_instruction() -> None:
    task, _ = search(
        right_every_second_time,
        lambda asked: f"({asked['instruction']})",
        program=TwoSteps(),
        candidates_per_step=1,
    )
    assert {
        tuple(candidate.state[path].instruction for path in ("describe", "name"))
        for candidate in task.candidates
        if candidate.state != task.start
    } == {
        (
            "Describe the thing in a few words.\n(Describe the thing in a few words.)",
            "Which colour does the described thing have?\n"
            "(Which colour does the described thing have?)",
        )
    }


def test_a_predictor_that_was_not_called_gets_no_advice() -> None:
    class NameAlone(TwoSteps):
        def forward(self, thing: str) -> Any:
            return self.name(thing=thing, words="unknown")

    task, _ = search(right_every_second_time, program=NameAlone())
    assert instructions_of(task, "describe") == {"Describe the thing in a few words."}


def test_the_same_advice_is_not_added_twice() -> None:
    task, _ = search(right_every_second_time, steps=4)
    assert instructions_of(task) == {DECLARED, f"{DECLARED}\nLook well."}


def test_unparseable_advice_is_dropped_and_other_advice_kept() -> None:
    answers = iter([None, "Look well."])
    task, _ = search(right_every_second_time, lambda asked: next(answers))
    assert instructions_of(task) == {DECLARED, f"{DECLARED}\nLook well."}


def test_unparseable_advice_makes_no_state_to_run() -> None:
    recorder = Recorder()
    search(right_every_second_time, lambda asked: None, batch=5, samples=2, watchers=[recorder])
    assert len(recorder.of("trial")) == 5 * (2 + 1)


# --- demonstrations


def test_a_passed_run_is_appended_as_a_demonstration() -> None:
    old = lmpipe.Demo(inputs={"thing": "apple number 999"}, outputs={"colour": "red"})
    program = lmpipe.Predict(NameColour)
    program = program.bind(program.state().map(demos=(old,)))
    task, _ = search(always(right=True), program=program, threshold=0.5, demos=100)
    found = [c.state["self"].demos for c in task.candidates if c.state != task.start]
    assert len(found) == 2
    assert all(
        first == old and new.source == "bootstrapped" for first, new in (demos for demos in found)
    )


def test_a_full_set_loses_a_random_demonstration_first() -> None:
    old = [
        lmpipe.Demo(inputs={"thing": f"apple number {n}"}, outputs={"colour": "red"})
        for n in range(900, 903)
    ]
    program = lmpipe.Predict(NameColour)
    program = program.bind(program.state().map(demos=tuple(old)))
    task, _ = search(always(right=True), program=program, threshold=0.5, demos=3)
    found = [c.state["self"].demos for c in task.candidates if c.state != task.start]
    assert found
    assert all(len(demos) <= 3 and demos[-1].source == "bootstrapped" for demos in found)
    # Not always the oldest: that it is dropped says nothing of the others.
    assert any(old[0] in demos for demos in found)


def test_the_newest_demonstration_replaces_the_oldest() -> None:
    old = lmpipe.Demo(inputs={"thing": "apple number 999"}, outputs={"colour": "red"})
    program = lmpipe.Predict(NameColour)
    program = program.bind(program.state().map(demos=(old,)))
    task, _ = search(always(right=True), program=program, threshold=0.5, demos=1)
    found = [c.state["self"].demos for c in task.candidates if c.state != task.start]
    assert found
    assert all(len(demos) == 1 and old not in demos for demos in found)


def test_of_two_different_runs_the_good_one_is_shown() -> None:
    task, _ = search(right_every_second_time, steps=4, threshold=0.5)
    demos = demos_shown(task)
    assert demos
    assert all(demo.outputs["colour"] == COLOURS[kind_in(demo.inputs["thing"])] for demo in demos)


def test_a_run_below_the_threshold_does_not_become_a_demonstration() -> None:
    task, _ = search(right_every_second_time, steps=4, threshold=0.6)
    assert demos_shown(task) == set()


# --- finalists


def overfitted(request: Request) -> str:
    """Reply right if one advice only helps in training and the other only later."""
    system, later = instruction_of(request), number_of(request) >= 100
    right = ("for now" in system and not later) or ("for later" in system and later)
    # The second advice also helps with some training examples, so that it ranks before the start.
    right = right or ("for later" in system and kind_of(request) == "apple")
    return reply_to(request, right=right or request.sample % 2 == 1)


def in_turn() -> Callable[[dict[str, str]], str]:
    answers = iter(["for now", "for later"])
    return lambda asked: next(answers)


def test_the_best_finalist_on_validation_wins() -> None:
    task, _ = search(overfitted, in_turn())
    assert task.best.state["self"].instruction == f"{DECLARED}\nfor later"


def test_finalists_limits_the_states_in_the_final_race() -> None:
    task, _ = search(overfitted, in_turn(), finalists=1)
    assert instructions_of(task) == {f"{DECLARED}\nfor now"}


def test_a_state_that_does_worse_than_the_start_ranks_behind_it() -> None:
    def student(request: Request) -> str:
        fooled = "Look well" in instruction_of(request)
        apple = kind_of(request) == "apple"
        return reply_to(request, right=not fooled and (apple or request.sample % 2 == 1))

    task, _ = search(student, candidates_per_step=1, finalists=1, batch=20)
    assert instructions_of(task) == {DECLARED}


def test_a_search_that_is_cut_short_has_a_result() -> None:
    def student(request: Request) -> str:
        knows = f"{kind_of(request)} is known" in instruction_of(request)
        return reply_to(request, right=knows or request.sample % 2 == 1)

    def write(asked: dict[str, str]) -> str:
        return f"{kind_in(asked['bad'])} is known"

    task = make_task(
        student=lmpipe.ScriptedLM(student),
        proposer=ScriptedProposer(write).lm,
        metric=half_score,
        budget=lmpipe.Budget(calls=400),
    )
    with pytest.raises(BudgetExhaustedError):
        run_sync(lmpipe.SIMBA(steps=50, batch=8, samples=2).optimize(task))
    assert task.best.state != task.start


def test_a_low_temperature_draws_the_best() -> None:
    def needs_words(request: Request) -> str:
        return reply_to(request, right="Look well." in instruction_of(request))

    task, _ = search(needs_words, steps=2, sampling_temperature=1e-6)
    assert task.best.score == 0.5


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 0},
        {"batch": 0},
        {"samples": 1},
        {"candidates_per_step": 0},
        {"finalists": 0},
        {"sampling_temperature": 0.0},
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        lmpipe.SIMBA(**settings)
