"""`Distill`: weights that learn the best of several answers, of one teacher or more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from lmpipe.errors import RecipeError
from lmpipe.foundation.checks import check_fields
from lmpipe.lm.lm import LM
from lmpipe.optimize.engine.events import Rollout
from lmpipe.optimize.engine.optimizer import Cost, Sizes
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.finetune import best_teacher_state
from lmpipe.optimize.shared.weight_training import gate_cost, train_and_gate
from lmpipe.state.program_state import ProgramState
from lmpipe.weights.settings import TrainingSettings


@dataclass(frozen=True, kw_only=True)
class Distill:
    """Sample several answers to each training example, and train on the best of them.

    Best-of-n distillation: of the rollouts of one example, over all teachers and samples, the
    `keep` best ones are learned from, as far as they reach the threshold. From there on it is
    `BootstrapFinetune`.

    Source: sequence-level distillation (arXiv 1606.07947) on samples that are filtered by their
    reward, as in RAFT (arXiv 2304.06767).

    Cost: `samples` runs of the program by each teacher for each training example, and the gate of
    `BootstrapFinetune`.

    Args:
        teachers: the LMs to learn from; the recipe's teacher if empty.
        samples: rollouts of each training example by each teacher.
        keep: the most of them that become rows.
        threshold: the score from which a predictor learns from a run.
        teacher_demos: labeled examples that teachers are shown; see `BootstrapFinetune`.
        shared: one adapter for all predictors, in place of one for each.
        training: how adapters are trained.

    Raises:
        RecipeError: if a number is out of range.
    """

    teachers: tuple[LM, ...] = ()
    samples: int = 4
    keep: int = 1
    threshold: float = 1.0
    teacher_demos: int = 8
    shared: bool = False
    training: TrainingSettings = field(default_factory=TrainingSettings)
    name: str = "distill"

    def __post_init__(self) -> None:
        check_fields(self, "samples", "keep", minimum=1, integer=True, error=RecipeError)
        check_fields(self, "teacher_demos", minimum=0, integer=True, error=RecipeError)
        check_fields(self, "threshold", minimum=0, maximum=1, error=RecipeError)

    async def optimize(self, task: Task) -> ProgramState:
        teacher = await best_teacher_state(task, self.teacher_demos, task.rng("teacher"))
        rollouts: list[Rollout] = []
        for lm in self.teachers or (None,):
            for sample in range(self.samples):
                rollouts += await task.rollouts(
                    teacher, task.train, sample=sample, threshold=self.threshold, lm=lm
                )
        best = self._best(rollouts, len(task.train))
        return await train_and_gate(
            task,
            task.start.without_demos(),
            best,
            self.training,
            threshold=self.threshold,
            shared=self.shared,
        )

    def _best(self, rollouts: Sequence[Rollout], examples: int) -> list[Rollout]:
        """The best rollouts of each example; of equal ones the earlier."""
        kept: list[Rollout] = []
        for place in range(examples):
            own = sorted(rollouts[place::examples], key=lambda one: -one.row.score.value)
            kept += own[: self.keep]
        return kept

    def cost(self, sizes: Sizes) -> Cost:
        teachers = max(1, len(self.teachers))
        runs = teachers * self.samples * sizes.train + gate_cost(sizes)
        return Cost(runs, trainings=(self.training,) * (1 if self.shared else sizes.predictors))

    def settings(self) -> dict[str, Any]:
        own = {name: value for name, value in vars(self).items() if name != "teachers"}
        teachers = [lm.identity() for lm in self.teachers]
        return {**own, "training": asdict(self.training), "teachers": teachers}
