"""StudentPreferred: which demonstrations it finds helpful, and how it tries them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from helpers.recorder import Recorder
from helpers.scripts import demos_of, kind_in, kind_of, number_of, reply_to
from helpers.tasks import run_optimizer
from helpers.world import COLOURS, NameColour, TwoSteps, things

import lmpipe
from lmpipe.errors import RecipeError
from lmpipe.lm.request import Request
from lmpipe.optimize.engine.optimizer import Sizes
from lmpipe.optimize.engine.task import Task

# Two of each kind, and no two with the same number.
SIX = [
    lmpipe.Example(thing=f"{kind} number {number}", colour=COLOURS[kind]).with_inputs("thing")
    for number, kind in enumerate(["apple", "grass", "sky"] * 2)
]


def always_right(request: Request) -> str:
    return reply_to(request, right=True)


def swayed(helps: Mapping[str, bool]) -> Callable[[Request], str]:
    """Make a student that is right on half of all things unless a demonstration changes that.

    Args:
        helps: by kind, whether a last demonstration of this kind makes the student always right
            (True) or always wrong (False).
    """

    def answer(request: Request) -> str:
        right = number_of(request) % 4 < 2
        for thing, _ in demos_of(request)[-1:]:
            right = helps.get(kind_in(thing), right)
        return reply_to(request, right=right)

    return answer


def search(
    student: Callable[[Request], str],
    teacher: Callable[[Request], str] = always_right,
    **changes: Any,
) -> Task:
    """Search with StudentPreferred; `changes` are its settings or parts of the recipe."""
    names = ("demos_tried", "neighbors", "demos", "threshold")
    settings = {name: changes.pop(name) for name in names if name in changes}
    return run_optimizer(
        lmpipe.StudentPreferred(**{"demos_tried": 6, "neighbors": 4, "demos": (3,), **settings}),
        student=lmpipe.ScriptedLM(student),
        teacher=lmpipe.ScriptedLM(teacher, name="teacher"),
        **{"train": SIX, **changes},
    )


def shown(task: Task) -> Sequence[lmpipe.Demo]:
    """Return the demonstrations of the only candidate."""
    (candidate,) = task.candidates
    demos: Sequence[lmpipe.Demo] = candidate.state["self"].demos
    return demos


def kinds(demos: Sequence[lmpipe.Demo]) -> list[str]:
    return [kind_in(demo.inputs["thing"]) for demo in demos]


# --- which demonstrations help


@pytest.mark.parametrize("best", COLOURS)
def test_the_demonstration_that_helps_most_is_chosen(best: str) -> None:
    assert kinds(shown(search(swayed({best: True}), demos=(1,)))) == [best]


@pytest.mark.parametrize("worst", COLOURS)
def test_a_harmful_demonstration_ranks_last_even_if_the_teacher_passed(worst: str) -> None:
    demos = shown(search(swayed({worst: False})))
    assert kinds(demos)[0] == worst
    assert {demo.source for demo in demos} == {"bootstrapped"}


def test_the_best_one_is_shown_last() -> None:
    demos = shown(search(swayed({"grass": True, "apple": False})))
    assert kinds(demos) == ["apple", "sky", "grass"]


def test_labels_take_turns() -> None:
    demos = shown(search(swayed({"grass": True}), demos=(4,)))
    assert kinds(demos)[0] == "grass"  # the second best, after one of each label
    assert sorted(kinds(demos)[1:]) == ["apple", "grass", "sky"]


def test_one_candidate_for_each_number_of_demonstrations_races() -> None:
    task = search(swayed({}), demos=(1, 2, 5))
    assert [(c.name, len(c.state["self"].demos)) for c in task.candidates] == [
        ("the demo that helps most", 1),
        ("the 2 demos that help most", 2),
        ("the 5 demos that help most", 5),
    ]


def test_no_more_demonstrations_are_named_than_there_are() -> None:
    task = search(swayed({}), demos=(2, 8, 16), demos_tried=3)
    assert [candidate.name for candidate in task.candidates] == [
        "the 2 demos that help most",
        "the 3 demos that help most",
    ]


# --- how demonstrations are tried


def tried_pairs(train: Sequence[lmpipe.Example], **settings: Any) -> list[tuple[str, str]]:
    """Return the demonstration and the question of each run on a training example."""
    seen = []

    def student(request: Request) -> str:
        for thing, _ in demos_of(request):
            if number_of(request) < 100:
                seen.append((thing, request.messages[-1].content))
        return reply_to(request, right=True)

    search(student, train=train, **settings)
    return seen


def test_a_demonstration_is_never_tried_on_its_own_example() -> None:
    pairs = tried_pairs(SIX, neighbors=6)
    assert len(pairs) == 6 * 5
    assert all(demo != question for demo, question in pairs)


def test_a_demonstration_is_tried_on_the_examples_nearest_to_it() -> None:
    pairs = tried_pairs(SIX, neighbors=1)
    assert len(pairs) == 6
    assert all(kind_in(demo) == kind_in(question) for demo, question in pairs)


def test_a_single_demonstration_is_shown_untried() -> None:
    assert len(shown(search(swayed({}), train=SIX[:1]))) == 1


def test_the_student_runs_once_on_each_example_without_demonstrations() -> None:
    bare = []

    def student(request: Request) -> str:
        if not demos_of(request) and number_of(request) < 100:
            bare.append(number_of(request))
        return reply_to(request, right=True)

    search(student, neighbors=6)
    assert sorted(bare) == [0, 1, 2, 3, 4, 5]


def test_a_demonstration_is_tried_without_those_of_the_start() -> None:
    old = lmpipe.Demo(inputs={"thing": "sky number 999"}, outputs={"colour": "blue"})
    program = lmpipe.Predict(NameColour)
    program = program.bind(program.state().map(demos=(old,)))
    counts = set()

    def student(request: Request) -> str:
        if number_of(request) < 100:
            counts.add(len(demos_of(request)))
        return reply_to(request, right=True)

    search(student, program=program)
    assert counts == {0, 1}


# --- which demonstrations are tried


def test_examples_whose_rollouts_fail_are_shown_as_labeled() -> None:
    def teacher(request: Request) -> str:
        return reply_to(request, right=kind_of(request) == "sky")

    demos = shown(search(swayed({}), teacher, demos=(6,)))
    assert {(kind_in(demo.inputs["thing"]), demo.source) for demo in demos} == {
        ("apple", "labeled"),
        ("grass", "labeled"),
        ("sky", "bootstrapped"),
    }


def test_without_labels_passed_rollouts_are_shown() -> None:
    def metric(example: lmpipe.Example, prediction: Any) -> bool:
        return COLOURS[kind_in(example.thing)] == str(prediction.colour)

    def teacher(request: Request) -> str:
        return reply_to(request, right=kind_of(request) == "sky")

    train = [lmpipe.Example(thing=row.thing).with_inputs("thing") for row in SIX]
    demos = shown(search(swayed({}), teacher, train=train, metric=metric))
    assert kinds(demos) == ["sky", "sky"]


def test_each_predictor_is_shown_its_own_part_of_a_rollout() -> None:
    task = search(lambda request: reply_to(request, right=True), program=TwoSteps())
    (candidate,) = task.candidates
    assert {demo.outputs["words"] for demo in candidate.state["describe"].demos} == {
        "a thing of some colour"
    }
    assert {*COLOURS.values()} == {demo.outputs["colour"] for demo in candidate.state["name"].demos}


def test_demos_tried_limits_the_demonstrations_that_are_tried() -> None:
    assert len({demo for demo, _ in tried_pairs(SIX, demos_tried=2)}) == 2


# --- cost and settings


@pytest.mark.parametrize(
    ("demos_tried", "neighbors", "train"), [(6, 3, 30), (30, 6, 8), (2, 2, 40)]
)
def test_its_cost_bounds_the_runs_of_the_program(
    demos_tried: int, neighbors: int, train: int
) -> None:
    recorder = Recorder()
    settings: dict[str, Any] = {"demos_tried": demos_tried, "neighbors": neighbors, "demos": (2, 4)}
    task = search(swayed({"sky": True}), train=things(train), watchers=[recorder], **settings)
    validated = sum(len(candidate.evaluation.rows) for candidate in task.candidates)
    runs = len(recorder.rollouts) + len(recorder.of("trial")) + validated
    cost = lmpipe.StudentPreferred(**settings).cost(Sizes(train, len(task.val)))
    assert validated < runs <= cost.runs


@pytest.mark.parametrize(
    "settings", [{"demos_tried": 0}, {"neighbors": 0}, {"demos": ()}, {"demos": (2, 0)}]
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        lmpipe.StudentPreferred(**settings)
