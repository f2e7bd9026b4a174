"""`BootstrapFinetune`: weights that learn from the teacher's successful runs."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, field
from typing import Any

from lmpipe.errors import RecipeError
from lmpipe.foundation.checks import check_fields
from lmpipe.optimize.engine.events import Rollout
from lmpipe.optimize.engine.optimizer import Cost, Sizes
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.shared.demos import labeled_demos, with_retrieval
from lmpipe.optimize.shared.weight_training import gate_cost, train_and_gate
from lmpipe.state.program_state import ProgramState
from lmpipe.weights.settings import TrainingSettings


@dataclass(frozen=True, kw_only=True)
class BootstrapFinetune:
    """Train weights on the traces that the metric passes; keep those that help.

    The teacher runs on the training examples; what each predictor was asked and answered in runs
    that passed becomes a row of that predictor, written as the student will be asked. Where the
    metric tells parts by the names of output fields, each predictor is judged by its own. One
    LoRA adapter is trained for each predictor, or one for all; whole models where the training is
    `full`, or a provider's. The program with all of them races the program without any, and
    without single ones, so that each stays only where it helps on validation.

    Source: the paper's BootstrapFinetune (arXiv 2310.03714, section 4 and appendix E.4); several
    samples after STaR (arXiv 2203.14465).

    Cost: `samples` runs of the program for each training example, and at most
    `predictors · (predictors + 1) / 2 + 1` for each validation example. Training itself costs no
    LM calls.

    Args:
        samples: rollouts of each training example; all different ones that pass are rows.
        threshold: the score from which a predictor learns from a run.
        teacher_demos: labeled examples that the teacher is shown, the nearest to each input,
            where the best prompt so far shows none.
        demos: whether the student keeps the demonstrations that it starts with, in the rows too;
            a shorter prompt is half of what weights are for. Those that an embedder chooses
            cannot be kept.
        shared: the same weights for all predictors, in place of some for each.
        training: how they are trained.

    Raises:
        RecipeError: if a number is out of range, or, when it is run, `demos` cannot be kept.
    """

    samples: int = 1
    threshold: float = 1.0
    teacher_demos: int = 8
    demos: bool = False
    shared: bool = False
    training: TrainingSettings = field(default_factory=TrainingSettings)
    name: str = "finetune"

    def __post_init__(self) -> None:
        check_fields(self, "samples", minimum=1, integer=True, error=RecipeError)
        check_fields(self, "teacher_demos", minimum=0, integer=True, error=RecipeError)
        check_fields(self, "threshold", minimum=0, maximum=1, error=RecipeError)
        if self.training.method == "dpo" and self.samples < 2:
            raise RecipeError(
                "preference training (method='dpo') compares answers to one question: set "
                "samples to 2 or more"
            )

    async def optimize(self, task: Task) -> ProgramState:
        if self.demos and task.program.bind(task.start).embeddings_per_run():
            raise RecipeError(
                "BootstrapFinetune(demos=True): the rows would ask the embedder past the budget "
                "for the demonstrations that the student starts with: leave demos=True out, or "
                "the embedder, so that the nearest are found by words"
            )
        teacher = await best_teacher_state(task, self.teacher_demos, task.rng("teacher"))
        rollouts: list[Rollout] = []
        for sample in range(self.samples):
            rollouts += await task.rollouts(
                teacher, task.train, sample=sample, threshold=self.threshold
            )
        start = task.start if self.demos else task.start.without_demos()
        return await train_and_gate(
            task,
            start,
            rollouts,
            self.training,
            threshold=self.threshold,
            shared=self.shared,
        )

    def cost(self, sizes: Sizes) -> Cost:
        trainings = (self.training,) * (1 if self.shared else sizes.predictors)
        return Cost(self.samples * sizes.train + gate_cost(sizes), trainings=trainings)

    def settings(self) -> dict[str, Any]:
        return asdict(self)


async def best_teacher_state(task: Task, count: int, rng: random.Random) -> ProgramState:
    """What a teacher runs with: the best prompt so far, or the nearest labeled examples."""
    best = task.best.state
    if not count or any(item.demos or item.retrieval for item in best.predictors.values()):
        return best
    pools = labeled_demos(task.predictors, task.train)
    pools = {path: rng.sample(pool, len(pool)) for path, pool in pools.items()}
    return with_retrieval(best, pools, k=count, embedded=await task.embed(pools))
