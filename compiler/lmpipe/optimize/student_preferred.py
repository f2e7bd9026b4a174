"""`StudentPreferred`: teacher demonstrations, ranked by how much each one helps this student."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from lmpipe.data.example import Example
from lmpipe.errors import RecipeError
from lmpipe.foundation.canonical_json import canonical_json
from lmpipe.modules.retrieval import NearExamples
from lmpipe.optimize.bootstrap_few_shot import BootstrapFewShot
from lmpipe.optimize.engine.optimizer import Cost, Sizes
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.shared.demos import bootstrapped_demos, labeled_demos, with_demos
from lmpipe.state.program_state import Demo, ProgramState


@dataclass(frozen=True)
class _Lesson:
    """What one training example gives to show: a demonstration for each predictor."""

    example: Example
    demos: Mapping[str, Demo]


@dataclass(frozen=True, kw_only=True)
class StudentPreferred:
    """Show the student those demonstrations that it learns most from.

    A demonstration that a strong teacher gets right need not help a small student. So each one is
    shown alone, the student sits an exam of the training examples that are nearest to it, and the
    demonstrations that raise its score most are shown together, balanced over the labels, the
    best one last.

    Source: ARTE, "Aligning Teacher with Student Preferences" (arXiv 2406.19227, section 3.2: one
    demonstration's effect on the student in context), and "Can LLMs Learn by Teaching?" (arXiv
    2406.14629, section 4: a lesson is scored by the student's exam on similar problems).

    Cost: one run of the program for each training example (the teacher),
    `demos_tried * neighbors` and one more for each training example (the student, with
    and without a demonstration), and `len(demos)` for each validation example.

    Args:
        demos_tried: demonstrations to try, of the teacher's rollouts that pass and of labeled
            examples.
        neighbors: training examples on which each one is tried.
        demos: how many of the best to show together, one candidate for each number.
        threshold: the score from which a rollout passes.

    Raises:
        RecipeError: if a number is out of range.
    """

    demos_tried: int = 16
    neighbors: int = 6
    demos: tuple[int, ...] = (2, 4, 8)
    threshold: float = 1.0
    name: str = "student-preferred"

    def __post_init__(self) -> None:
        if self.demos_tried < 1 or self.neighbors < 1 or not self.demos or min(self.demos) < 1:
            raise RecipeError(f"{self}: needs 1 lesson, exam row and demonstration or more")

    async def optimize(self, task: Task) -> ProgramState:
        lessons = await self._lessons(task)
        gains = await self._gains(task, lessons)
        ranked = sorted(range(len(lessons)), key=lambda number: -gains[number])
        best_first = _balanced(task, [lessons[number] for number in ranked])
        await task.race(
            [
                (f"the {count} demos that help most", _showing(task, best_first[:count]))
                for count in self.demos
            ]
        )
        return task.best.state

    async def _lessons(self, task: Task) -> list[_Lesson]:
        """Passed rollouts first, then labeled examples that none of them is of."""
        rng = task.rng("lessons")
        collector = BootstrapFewShot(threshold=self.threshold)
        passed = await collector.passed(task, rng, enough=self.demos_tried)
        found = {}
        for rollout in passed:
            demos = bootstrapped_demos([rollout], rng)
            own = {path: items[0] for path, items in demos.items() if path in task.predictors}
            found[rollout.row.example] = _Lesson(rollout.row.example, own)
        for example in rng.sample(task.train, len(task.train)):
            labeled = labeled_demos(task.predictors, [example])
            demos_of = {path: items[0] for path, items in labeled.items() if items}
            if demos_of:
                found.setdefault(example, _Lesson(example, demos_of))
        return list(found.values())[: self.demos_tried]

    async def _gains(self, task: Task, lessons: Sequence[_Lesson]) -> list[float]:
        """How much each lesson raises the student's score on its exam."""
        alone = _showing(task, [])
        near = NearExamples(task.train)
        exams = [near.nearest(lesson.example, self.neighbors) for lesson in lessons]
        sat = list(dict.fromkeys(example for exam in exams for example in exam))
        pairs = [(alone, example) for example in sat]
        for lesson, exam in zip(lessons, exams, strict=True):
            pairs += [(_showing(task, [lesson]), example) for example in exam]
        rows = iter(await task.trials(pairs))
        without = {example: next(rows).score.value for example in sat}
        return [
            fmean([next(rows).score.value - without[example] for example in exam] or [0.0])
            for exam in exams
        ]

    def cost(self, sizes: Sizes) -> Cost:
        students = self.demos_tried * self.neighbors + sizes.train
        return Cost(sizes.train + students + len(self.demos) * sizes.val)

    def settings(self) -> dict[str, Any]:
        return {**asdict(self), "demos": list(self.demos)}


def _showing(task: Task, lessons: Sequence[_Lesson]) -> ProgramState:
    """The start with these lessons, given best first, as its demonstrations: the best one last."""
    shown: dict[str, list[Demo]] = {path: [] for path in task.predictors}
    for lesson in reversed(lessons):
        for path, demo in lesson.demos.items():
            shown[path].append(demo)
    return with_demos(task.start, shown)


def _balanced(task: Task, lessons: Sequence[_Lesson]) -> list[_Lesson]:
    """The lessons with labels taking turns, the best of each label first."""
    labels = {
        path: name
        for path, predictor in task.predictors.items()
        if (name := predictor.spec.label) is not None
    }
    groups: dict[bytes, list[_Lesson]] = {}
    for lesson in lessons:
        said = [
            lesson.demos[path].outputs.get(name)
            for path, name in labels.items()
            if path in lesson.demos
        ]
        groups.setdefault(canonical_json(said), []).append(lesson)
    longest = max(map(len, groups.values()), default=0)
    return [
        group[turn] for turn in range(longest) for group in groups.values() if turn < len(group)
    ]
