"""The rules that choose training rows: which come first, and what they cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from helpers.embeddings import scripted_embedder
from helpers.recorder import Recorder
from helpers.scripts import demos_of, kind_of, number_of, reply_to
from helpers.tasks import make_task
from helpers.world import COLOURS, TwoSteps

import lmpipe
from lmpipe.errors import RecipeError
from lmpipe.lm.concurrency import loop
from lmpipe.lm.request import Request
from lmpipe.optimize.engine.optimizer import Sizes
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.shared.row_rules import (
    DiverseRows,
    NeededRows,
    PreferredRows,
    RandomRows,
    RowRule,
    in_shares,
)

EVERY = [RandomRows(), NeededRows(), DiverseRows(), PreferredRows(neighbors=2)]
every = pytest.mark.parametrize("rule", EVERY, ids=[rule.name for rule in EVERY])

# Of each kind eight, with the numbers 0 to 23.
THINGS = [
    lmpipe.Example(thing=f"{kind} number {number}", colour=COLOURS[kind]).with_inputs("thing")
    for number, kind in enumerate([*COLOURS] * 8)
]


def ordered(
    rule: RowRule, student: Callable[[Request], str] | None = None, **changes: Any
) -> tuple[Task, dict[str, list[str]]]:
    """Order the runs of a teacher; return the things by predictor. Both LMs are right by default.

    `changes` are parts of the recipe.
    """

    def right(request: Request) -> str:
        return reply_to(request, right=True)

    lms = {
        "student": lmpipe.ScriptedLM(student or right),
        "teacher": lmpipe.ScriptedLM(right, name="teacher"),
    }
    task = make_task(**{**lms, "train": THINGS, **changes})

    async def order() -> dict[str, list[str]]:
        rollouts = await task.rollouts(task.start, task.train)
        pools = dict.fromkeys(task.predictors, rollouts)
        found = await rule.order(task, task.start, pools)
        return {path: [run.row.example.thing for run in runs] for path, runs in found.items()}

    return task, loop.run_sync(order())


def numbers(things: Sequence[str]) -> list[int]:
    return [int(thing.rpartition(" ")[2]) for thing in things]


def kinds(things: Sequence[str]) -> Counter[str]:
    return Counter(thing.split()[0] for thing in things)


@every
def test_every_run_is_in_the_order_once(rule: RowRule) -> None:
    _, order = ordered(rule, program=TwoSteps())
    assert {path: sorted(numbers(things)) for path, things in order.items()} == {
        "describe": list(range(24)),
        "name": list(range(24)),
    }


@every
def test_the_cost_bounds_the_runs_of_the_student(rule: RowRule) -> None:
    recorder = Recorder()
    ordered(rule, watchers=[recorder])
    assert len(recorder.of("trial")) <= rule.cost(Sizes(len(THINGS), 30)).runs


@every
def test_settings_name_what_decides_the_order(rule: RowRule) -> None:
    assert rule.settings()["name"] == rule.name


# --- need


def wrong_on(*wrong: int) -> Callable[[Request], str]:
    return lambda request: reply_to(request, right=number_of(request) not in wrong)


def test_what_the_student_gets_wrong_comes_first() -> None:
    _, order = ordered(NeededRows(), wrong_on(4, 9, 17))  # one of each kind
    assert set(numbers(order["self"][:3])) == {4, 9, 17}


def test_an_unreadable_reply_is_needed_like_a_wrong_one() -> None:
    def student(request: Request) -> str:
        wrong = number_of(request) in (4, 9, 17)
        return "I would rather not say." if wrong else reply_to(request, right=True)

    _, order = ordered(NeededRows(), student)
    assert set(numbers(order["self"][:3])) == {4, 9, 17}


def never_sky(request: Request) -> str:
    return reply_to(request, right=kind_of(request) != "sky")


def test_a_label_that_the_student_gets_wrong_has_more_rows() -> None:
    _, order = ordered(NeededRows(), never_sky)
    found = kinds(order["self"][:9])
    assert found == {"sky": 5, "apple": 2, "grass": 2}


def test_without_eta_labels_have_equal_shares() -> None:
    _, order = ordered(NeededRows(eta=0), never_sky)
    assert kinds(order["self"][:9]) == {"sky": 3, "apple": 3, "grass": 3}


def test_with_a_large_eta_the_label_that_goes_wrong_comes_first() -> None:
    _, found = ordered(NeededRows(eta=1e6), never_sky)
    assert kinds(found["self"][:8]) == {"sky": 8}


def test_each_predictor_needs_what_its_own_part_of_the_score_lacks() -> None:
    def metric(example: lmpipe.Example, prediction: Any) -> lmpipe.Score:
        number = int(example.thing.rpartition(" ")[2])
        parts = {"words": float(number != 3), "colour": float(number != 8)}
        return lmpipe.Score(sum(parts.values()) / 2, parts=parts)

    _, order = ordered(NeededRows(), program=TwoSteps(), metric=metric)
    assert numbers(order["describe"])[0] == 3
    # The label of the number 8 is the only one with an error.
    assert numbers(order["name"])[0] == 8


# --- diverse


MESSAGES = ["the parcel is late", "the parcel is lost", "the parcel is wet", "invoice", "password"]
TICKETS = [lmpipe.Example(thing=text, colour="red").with_inputs("thing") for text in MESSAGES]


def first_three(**changes: Any) -> list[str]:
    _, order = ordered(
        DiverseRows(),
        lambda _: "[[colour]]\nred",
        teacher=lmpipe.ScriptedLM(lambda _: "[[colour]]\nred", name="teacher"),
        train=TICKETS,
        **changes,
    )
    return [thing.split()[-1] if "parcel" not in thing else "parcel" for thing in order["self"]][:3]


def test_the_first_inputs_represent_all() -> None:
    assert sorted(first_three()) == ["invoice", "parcel", "password"]


def test_if_there_is_an_embedder_inputs_are_compared_by_its_vectors() -> None:
    embedder = scripted_embedder()
    first_three(embedder=embedder)
    (request,) = embedder.requests
    assert "parcel" in str(request)


# --- preferred


def test_what_helps_the_student_as_a_demonstration_comes_first() -> None:
    def student(request: Request) -> str:
        shown = [int(thing.rpartition(" ")[2]) for thing, _ in demos_of(request)]
        return reply_to(request, right=any(number % 2 for number in shown))

    _, order = ordered(PreferredRows(), student)
    assert all(number % 2 for number in numbers(order["self"][:12]))


def test_labels_take_turns() -> None:
    def student(request: Request) -> str:
        return reply_to(request, right=any("sky" in thing for thing, _ in demos_of(request)))

    _, order = ordered(PreferredRows(), student)
    assert kinds(order["self"][:6]) == {"sky": 2, "apple": 2, "grass": 2}


# --- shares


def test_groups_have_shares_in_proportion_to_their_weights() -> None:
    merged = in_shares(["a" * 20, "b" * 20, "c" * 20], [3.0, 2.0, 1.0])
    assert [Counter(merged[:12])[letter] for letter in "abc"] == [6, 4, 2]


def test_what_a_small_group_lacks_goes_to_the_others() -> None:
    assert "".join(in_shares(["a", "bbb"], [9.0, 1.0])) == "abbb"


def test_without_groups_there_is_nothing_to_merge() -> None:
    assert in_shares([], []) == []


@pytest.mark.parametrize("make", [lambda: NeededRows(eta=-1), lambda: PreferredRows(neighbors=0)])
def test_settings_out_of_range_are_refused(make: Callable[[], RowRule]) -> None:
    with pytest.raises(RecipeError, match="or more"):
        make()
