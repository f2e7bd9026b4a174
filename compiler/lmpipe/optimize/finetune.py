"""`BootstrapFinetune`: train weights on the teacher's successful rollouts."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, field
from typing import Any

from lmpipe.errors import RecipeError
from lmpipe.optimize.engine.events import Rollout
from lmpipe.optimize.engine.optimizer import Cost, Sizes, check_settings
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.shared.draw_demos import labeled_demos, with_retrieval
from lmpipe.optimize.shared.row_rules import RowRule, RowRuleName
from lmpipe.optimize.shared.row_selection import RowSelection
from lmpipe.optimize.shared.weight_gate import gate_cost
from lmpipe.optimize.shared.weight_training import train_and_gate
from lmpipe.state.program_state import ProgramState
from lmpipe.weights.settings import TrainingSettings


@dataclass(frozen=True, kw_only=True)
class BootstrapFinetune:
    """Train weights on rollouts that the metric passes, and keep those that help.

    The teacher runs on the training examples. The prompts and replies of each predictor in runs
    that passed become its rows, written as the student will be prompted. If the metric has parts
    named like output fields, each predictor is judged by its own parts. One LoRA adapter is
    trained for each predictor, or one for all; with `full` settings or a hosted trainer, whole
    models are trained. The program with all of them races the program without any, and without
    single ones, so each is kept only if it helps on validation.

    Source: the paper's BootstrapFinetune (arXiv 2310.03714, section 4 and appendix E.4); several
    samples after STaR (arXiv 2203.14465).

    Cost: `samples` program runs for each training example, and at most
    `predictors · (predictors + 1) / 2 + 1` for each validation example, and what the rule costs
    that chooses rows. Training costs no LM calls.

    Args:
        samples: the number of rollouts of each training example, 1 or more; all different ones
            that pass become rows.
        threshold: the minimum score of a run for a predictor to learn from it, from 0 to 1.
        teacher_demos: the number of labeled examples in the teacher's prompts, 0 or more: those
            nearest to each input, unless the best prompt so far has demonstrations.
        keep_demos: whether the student keeps its demonstrations, in the rows too. Without them
            prompts are shorter. Demonstrations that an embedder finds cannot be kept.
        shared: train one set of weights for all predictors.
        rows: the maximum number of rows of each predictor, 1 or more; None trains on all.
        select: how those rows are chosen if there are more: `random`, `need` (what the student
            gets wrong), `diverse` (inputs that represent the others), `preferred` (what helps the
            student as a demonstration), or a rule with settings or of your own, a `RowRule`.
        training: how weights are trained.

    Raises:
        RecipeError: if a number is out of range, a rule is unknown or given without `rows`, or,
            when it runs, `keep_demos` is not possible.
    """

    samples: int = 1
    threshold: float = 1.0
    teacher_demos: int = 8
    keep_demos: bool = False
    shared: bool = False
    rows: int | None = None
    select: RowRule | RowRuleName = "random"
    training: TrainingSettings = field(default_factory=TrainingSettings)
    name: str = "finetune"

    def __post_init__(self) -> None:
        check_settings(self, "samples", minimum=1, integer=True)
        check_settings(self, "teacher_demos", minimum=0, integer=True)
        check_settings(self, "threshold", minimum=0, maximum=1)
        self._selection()  # checks its settings
        if self.training.method == "dpo" and self.samples < 2:
            raise RecipeError(
                "preference training (method='dpo') compares replies to the same prompt: set "
                "samples to 2 or more"
            )

    async def optimize(self, task: Task) -> ProgramState:
        if self.keep_demos and task.program.bind(task.start).embeddings_per_run():
            raise RecipeError(
                "BootstrapFinetune(keep_demos=True): making the rows would call the embedder "
                "outside the budget: use keep_demos=False, or remove the embedder, so that the "
                "nearest demonstrations are found by words"
            )
        teacher = await best_teacher_state(task, self.teacher_demos, task.rng("teacher"))
        rollouts: list[Rollout] = []
        for sample in range(self.samples):
            rollouts += await task.rollouts(
                teacher, task.train, sample=sample, threshold=self.threshold
            )
        start = task.start if self.keep_demos else task.start.without_demos()
        return await train_and_gate(
            task,
            start,
            rollouts,
            self.training,
            threshold=self.threshold,
            selection=self._selection(),
            shared=self.shared,
        )

    def cost(self, sizes: Sizes) -> Cost:
        return self._selection().cost(sizes) + Cost(
            self.samples * sizes.train + gate_cost(sizes),
            trainings=(self.training,) * (1 if self.shared else sizes.predictors),
            pools=min(self.teacher_demos, 1),
        )

    def settings(self) -> dict[str, Any]:
        return {**vars(self), "training": asdict(self.training), **self._selection().settings()}

    def _selection(self) -> RowSelection:
        return RowSelection.of(type(self).__name__, self.rows, self.select)


async def best_teacher_state(task: Task, count: int, rng: random.Random) -> ProgramState:
    """Return the teacher's state: the best so far, with labeled demonstrations if it has none.

    The `count` demonstrations are those nearest to each input. `rng` shuffles their pools.
    """
    best = task.best.state
    if not count or any(item.demos or item.retrieval for item in best.predictors.values()):
        return best
    pools = labeled_demos(task.predictors, task.train)
    pools = {path: rng.sample(pool, len(pool)) for path, pool in pools.items()}
    return with_retrieval(best, pools, k=count, embedded=await task.embed(pools))
