"""`Distill`: train weights on the best of several rollouts, of one or more teachers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from lmpipe.lm.lm import LM
from lmpipe.optimize.engine.events import Rollout
from lmpipe.optimize.engine.optimizer import Cost, Sizes, check_settings
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.finetune import best_teacher_state
from lmpipe.optimize.shared.row_rules import RowRule, RowRuleName
from lmpipe.optimize.shared.row_selection import RowSelection
from lmpipe.optimize.shared.weight_gate import gate_cost
from lmpipe.optimize.shared.weight_training import train_and_gate
from lmpipe.state.program_state import ProgramState
from lmpipe.weights.settings import TrainingSettings


@dataclass(frozen=True, kw_only=True)
class Distill:
    """Sample several rollouts of each training example, and train on the best ones.

    Best-of-n distillation: of all rollouts of an example, over all teachers and samples, the
    `best` highest-scoring ones that reach the threshold become rows. The rest is as in
    `BootstrapFinetune`.

    Source: sequence-level distillation (arXiv 1606.07947) on samples that are filtered by their
    reward, as in RAFT (arXiv 2304.06767).

    Cost: `samples` program runs by each teacher for each training example, and the gate and the
    choice of rows of `BootstrapFinetune`.

    Args:
        teachers: the LMs to learn from; the recipe's teacher if empty.
        samples: the number of rollouts of each training example by each teacher, 1 or more.
        best: the maximum number of rollouts of an example that become rows, 1 or more.
        threshold: the minimum score of a run for a predictor to learn from it, from 0 to 1.
        teacher_demos: the number of labeled examples in the teachers' prompts, 0 or more; see
            `BootstrapFinetune`.
        shared: train one adapter for all predictors.
        rows: the maximum number of rows of each predictor; see `BootstrapFinetune`.
        select: how those rows are chosen; see `BootstrapFinetune`.
        training: how adapters are trained.

    Raises:
        RecipeError: if a number is out of range, or a rule is unknown or given without `rows`.
    """

    teachers: tuple[LM, ...] = ()
    samples: int = 4
    best: int = 1
    threshold: float = 1.0
    teacher_demos: int = 8
    shared: bool = False
    rows: int | None = None
    select: RowRule | RowRuleName = "random"
    training: TrainingSettings = field(default_factory=TrainingSettings)
    name: str = "distill"

    def __post_init__(self) -> None:
        check_settings(self, "samples", "best", minimum=1, integer=True)
        check_settings(self, "teacher_demos", minimum=0, integer=True)
        check_settings(self, "threshold", minimum=0, maximum=1)
        self._selection()  # checks its settings

    async def optimize(self, task: Task) -> ProgramState:
        teacher = await best_teacher_state(task, self.teacher_demos, task.rng("teacher"))
        rollouts: list[Rollout] = []
        for lm in self.teachers or (None,):
            for sample in range(self.samples):
                rollouts += await task.rollouts(
                    teacher, task.train, sample=sample, threshold=self.threshold, lm=lm
                )
        return await train_and_gate(
            task,
            task.start.without_demos(),
            self._choose(rollouts, len(task.train)),
            self.training,
            threshold=self.threshold,
            selection=self._selection(),
            shared=self.shared,
        )

    def _choose(self, rollouts: Sequence[Rollout], examples: int) -> list[Rollout]:
        """Choose the best rollouts of each example; of equal ones the earliest."""
        chosen: list[Rollout] = []
        for position in range(examples):
            own = rollouts[position::examples]
            chosen += sorted(own, key=lambda rollout: -rollout.row.score.value)[: self.best]
        return chosen

    def cost(self, sizes: Sizes) -> Cost:
        teachers = max(1, len(self.teachers))
        runs = teachers * self.samples * sizes.train + gate_cost(sizes)
        return self._selection().cost(sizes) + Cost(
            runs,
            trainings=(self.training,) * (1 if self.shared else sizes.predictors),
            pools=min(self.teacher_demos, 1),
        )

    def settings(self) -> dict[str, Any]:
        own = {name: value for name, value in vars(self).items() if name != "teachers"}
        teachers = [lm.identity() for lm in self.teachers]
        parts = {"training": asdict(self.training), "teachers": teachers}
        return {**own, **parts, **self._selection().settings()}

    def _selection(self) -> RowSelection:
        return RowSelection.of(type(self).__name__, self.rows, self.select)
