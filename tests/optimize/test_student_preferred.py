"""StudentPreferred: which demonstrations help the student, and how it finds that out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from helpers.recorder import Recorder
from helpers.scripts import answered, demos_of, kind_in, kind_of, number_of
from helpers.tasks import searched
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


def knows(request: Request) -> str:
    return answered(request, right=True)


def swayed(helps: Mapping[str, bool]) -> Callable[[Request], str]:
    """A student that is right on half of all things, until its last demonstration sways it.

    Args:
        helps: what a demonstration of a kind does: lets it be right, or wrong, on all things.
    """

    def answer(request: Request) -> str:
        right = number_of(request) % 4 < 2
        for thing, _ in demos_of(request)[-1:]:
            right = helps.get(kind_in(thing), right)
        return answered(request, right=right)

    return answer


def ranked(
    student: Callable[[Request], str],
    teacher: Callable[[Request], str] = knows,
    **changes: Any,
) -> Task:
    """A search with StudentPreferred; `changes` are its settings, or parts of the recipe."""
    names = ("demos_tried", "neighbors", "demos", "threshold")
    settings = {name: changes.pop(name) for name in names if name in changes}
    return searched(
        lmpipe.StudentPreferred(**{"demos_tried": 6, "neighbors": 4, "demos": (3,), **settings}),
        student=lmpipe.ScriptedLM(student),
        teacher=lmpipe.ScriptedLM(teacher, name="teacher"),
        **{"train": SIX, **changes},
    )


def shown(task: Task) -> Sequence[lmpipe.Demo]:
    """What the one candidate shows."""
    (candidate,) = task.candidates
    demos: Sequence[lmpipe.Demo] = candidate.state["self"].demos
    return demos


def kinds(demos: Sequence[lmpipe.Demo]) -> list[str]:
    return [kind_in(demo.inputs["thing"]) for demo in demos]


# --- which help


@pytest.mark.parametrize("best", COLOURS)
def test_the_demonstration_that_helps_most_is_chosen(best: str) -> None:
    assert kinds(shown(ranked(swayed({best: True}), demos=(1,)))) == [best]


@pytest.mark.parametrize("worst", COLOURS)
def test_one_that_the_teacher_passes_and_that_hurts_is_behind_those_that_do_not(worst: str) -> None:
    demos = shown(ranked(swayed({worst: False})))
    assert kinds(demos)[0] == worst
    assert {demo.source for demo in demos} == {"bootstrapped"}


def test_the_best_one_is_shown_last() -> None:
    demos = shown(ranked(swayed({"grass": True, "apple": False})))
    assert kinds(demos) == ["apple", "sky", "grass"]


def test_labels_take_turns_whatever_helps() -> None:
    demos = shown(ranked(swayed({"grass": True}), demos=(4,)))
    assert kinds(demos)[0] == "grass"  # the second best of all, after one of each label
    assert sorted(kinds(demos)[1:]) == ["apple", "grass", "sky"]


def test_one_candidate_for_each_number_of_demonstrations_races() -> None:
    task = ranked(swayed({}), demos=(1, 2, 5))
    assert [(c.name, len(c.state["self"].demos)) for c in task.candidates] == [
        ("the 1 demos that help most", 1),
        ("the 2 demos that help most", 2),
        ("the 5 demos that help most", 5),
    ]


# --- the exams


def exams(train: Sequence[lmpipe.Example], **settings: Any) -> list[tuple[str, str]]:
    """The demonstration and the question of each run with a lesson."""
    seen = []

    def student(request: Request) -> str:
        for thing, _ in demos_of(request):
            if number_of(request) < 100:
                seen.append((thing, request.messages[-1].content))
        return answered(request, right=True)

    ranked(student, train=train, **settings)
    return seen


def test_a_lesson_is_never_judged_on_the_example_that_it_shows() -> None:
    sat = exams(SIX, neighbors=6)
    assert len(sat) == 6 * 5
    assert all(lesson != question for lesson, question in sat)


def test_a_lesson_is_judged_on_the_examples_nearest_to_it() -> None:
    sat = exams(SIX, neighbors=1)
    assert len(sat) == 6
    assert all(kind_in(lesson) == kind_in(question) for lesson, question in sat)


def test_a_lesson_alone_has_no_exam_and_is_shown() -> None:
    assert len(shown(ranked(swayed({}), train=SIX[:1]))) == 1


def test_what_the_student_can_do_without_lessons_is_asked_once_for_each_example() -> None:
    bare = []

    def student(request: Request) -> str:
        if not demos_of(request) and number_of(request) < 100:
            bare.append(number_of(request))
        return answered(request, right=True)

    ranked(student, neighbors=6)
    assert sorted(bare) == [0, 1, 2, 3, 4, 5]


def test_a_lesson_is_tried_without_the_demonstrations_of_the_start() -> None:
    old = lmpipe.Demo(inputs={"thing": "sky number 999"}, outputs={"colour": "blue"})
    program = lmpipe.Predict(NameColour)
    program = program.bind(program.state().map(demos=(old,)))
    counts = set()

    def student(request: Request) -> str:
        if number_of(request) < 100:
            counts.add(len(demos_of(request)))
        return answered(request, right=True)

    ranked(student, program=program)
    assert counts == {0, 1}


# --- the lessons


def test_rollouts_that_do_not_pass_leave_their_labeled_examples() -> None:
    def teacher(request: Request) -> str:
        return answered(request, right=kind_of(request) == "sky")

    demos = shown(ranked(swayed({}), teacher, demos=(6,)))
    assert {(kind_in(demo.inputs["thing"]), demo.source) for demo in demos} == {
        ("apple", "labeled"),
        ("grass", "labeled"),
        ("sky", "bootstrapped"),
    }


def test_without_labels_what_the_teacher_passes_is_shown() -> None:
    def metric(example: lmpipe.Example, prediction: Any) -> bool:
        return COLOURS[kind_in(example.thing)] == str(prediction.colour)

    def teacher(request: Request) -> str:
        return answered(request, right=kind_of(request) == "sky")

    train = [lmpipe.Example(thing=row.thing).with_inputs("thing") for row in SIX]
    demos = shown(ranked(swayed({}), teacher, train=train, metric=metric))
    assert kinds(demos) == ["sky", "sky"]


def test_a_lesson_shows_each_predictor_what_it_did_itself() -> None:
    task = ranked(lambda request: answered(request, right=True), program=TwoSteps())
    (candidate,) = task.candidates
    assert {demo.outputs["words"] for demo in candidate.state["describe"].demos} == {
        "a thing of some colour"
    }
    assert {*COLOURS.values()} == {demo.outputs["colour"] for demo in candidate.state["name"].demos}


def test_no_more_lessons_are_tried_than_asked_for() -> None:
    assert len({lesson for lesson, _ in exams(SIX, demos_tried=2)}) == 2


# --- what it costs


@pytest.mark.parametrize(
    ("demos_tried", "neighbors", "train"), [(6, 3, 30), (30, 6, 8), (2, 2, 40)]
)
def test_it_runs_the_program_no_more_often_than_it_says(
    demos_tried: int, neighbors: int, train: int
) -> None:
    recorder = Recorder()
    settings: dict[str, Any] = {"demos_tried": demos_tried, "neighbors": neighbors, "demos": (2, 4)}
    task = ranked(swayed({"sky": True}), train=things(train), watchers=[recorder], **settings)
    validated = sum(len(candidate.evaluation.rows) for candidate in task.candidates)
    runs = len(recorder.rollouts) + len(recorder.of("trial")) + validated
    cost = lmpipe.StudentPreferred(**settings).cost(Sizes(train, len(task.val)))
    assert validated < runs <= cost.runs


@pytest.mark.parametrize(
    "settings", [{"demos_tried": 0}, {"neighbors": 0}, {"demos": ()}, {"demos": (2, 0)}]
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        lmpipe.StudentPreferred(**settings)
