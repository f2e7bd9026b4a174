"""`StudentPreferred`: demonstrations ranked by how much each one helps the student."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from lmpipe.data.example import Example
from lmpipe.errors import RecipeError
from lmpipe.foundation.canonical_json import canonical_json
from lmpipe.foundation.checks import check_numbers
from lmpipe.optimize.bootstrap_few_shot import BootstrapFewShot
from lmpipe.optimize.engine.optimizer import Cost, DataclassSettings, Sizes, check_settings
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.shared.demo_gains import DemosOfExample, try_demos, trying_cost
from lmpipe.optimize.shared.draw_demos import bootstrapped_demos, labeled_demos, with_demos
from lmpipe.state.program_state import Demo, ProgramState


@dataclass(frozen=True, kw_only=True)
class StudentPreferred(DataclassSettings):
    """Show the student the demonstrations that raise its score most.

    What a strong teacher does right need not help a small student. So each demonstration is shown
    alone while the student runs on the training examples nearest to it. Those that raise the
    student's score most are shown together, balanced over the labels, the best one last.

    Source: ARTE, "Aligning Teacher with Student Preferences" (arXiv 2406.19227, section 3.2: the
    effect of one demonstration on the student in context), and "Can LLMs Learn by Teaching?"
    (arXiv 2406.14629, section 4: scored by the student on similar problems).

    Cost: one run of the program for each training example by the teacher;
    `demos_tried * neighbors` runs and one more for each training example by the student, with and
    without a demonstration; and `len(demos)` runs for each validation example.

    Args:
        demos_tried: the number of demonstrations to try, from passed rollouts of the teacher and
            then from labeled examples, 1 or more.
        neighbors: the number of training examples on which each one is tried, 1 or more.
        demos: how many of the best to show together, each 1 or more; each makes a candidate.
        threshold: the score from which a rollout passes, 0 to 1.

    Raises:
        RecipeError: if a number is out of range.
    """

    demos_tried: int = 16
    neighbors: int = 6
    demos: tuple[int, ...] = (2, 4, 8)
    threshold: float = 1.0
    name: str = "student-preferred"

    def __post_init__(self) -> None:
        check_settings(self, "demos_tried", "neighbors", minimum=1, integer=True)
        check_settings(self, "threshold", minimum=0, maximum=1)
        check_numbers(
            "StudentPreferred", "demos", self.demos, minimum=1, integer=True, error=RecipeError
        )

    async def optimize(self, task: Task) -> ProgramState:
        tried = await self._demos_to_try(task)
        trials = await try_demos(task, task.start, tried, self.neighbors)
        gains = [trial.gain(lambda row: row.score.value) for trial in trials]
        ranked = sorted(range(len(tried)), key=lambda number: -gains[number])
        demos = list(tried.values())
        best_first = _balanced(task, [demos[number] for number in ranked])
        counts = dict.fromkeys(min(count, len(best_first)) for count in self.demos)
        await task.race(
            [(_name(count), _showing(task, best_first[:count])) for count in counts if count]
        )
        return task.best.state

    async def _demos_to_try(self, task: Task) -> dict[Example, DemosOfExample]:
        """Return those of passed rollouts, then of labeled examples without such a rollout."""
        rng = task.rng("lessons")  # another name for the stream would change its draws
        collector = BootstrapFewShot(threshold=self.threshold)
        passed = await collector.labeled_teacher_rollouts(task, rng, enough=self.demos_tried)
        found: dict[Example, DemosOfExample] = {}
        for rollout in passed:
            demos = bootstrapped_demos([rollout], rng)
            own = {path: items[0] for path, items in demos.items() if path in task.predictors}
            found[rollout.row.example] = own
        for example in rng.sample(task.train, len(task.train)):
            labeled = labeled_demos(task.predictors, [example])
            demos_of = {path: items[0] for path, items in labeled.items() if items}
            if demos_of:
                found.setdefault(example, demos_of)
        return dict(islice(found.items(), self.demos_tried))

    def cost(self, sizes: Sizes) -> Cost:
        students = trying_cost(self.demos_tried, self.neighbors, sizes)
        return students + Cost(sizes.train + len(self.demos) * sizes.val)


def _name(count: int) -> str:
    return "the demo that helps most" if count == 1 else f"the {count} demos that help most"


def _showing(task: Task, best_first: Sequence[DemosOfExample]) -> ProgramState:
    """Return the start with these demonstrations only, the best one last."""
    shown: dict[str, list[Demo]] = {path: [] for path in task.predictors}
    for one in reversed(best_first):
        for path, demo in one.items():
            shown[path].append(demo)
    return with_demos(task.start, shown)


def _balanced(task: Task, best_first: Sequence[DemosOfExample]) -> list[DemosOfExample]:
    """Reorder so that the labels take turns, each label's best one first."""
    labels = {
        path: name
        for path, predictor in task.predictors.items()
        if (name := predictor.spec.label) is not None
    }
    groups: dict[bytes, list[DemosOfExample]] = {}
    for one in best_first:
        values = [one[path].outputs.get(name) for path, name in labels.items() if path in one]
        groups.setdefault(canonical_json(values), []).append(one)
    longest = max(map(len, groups.values()), default=0)
    return [
        group[turn] for turn in range(longest) for group in groups.values() if turn < len(group)
    ]
