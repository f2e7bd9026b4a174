"""`BootstrapFinetune`: weights that learn from the teacher's successful runs."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from lmpipe.errors import RecipeError
from lmpipe.optimize.demos import labeled_demos, with_retrieval
from lmpipe.optimize.events import Rollout
from lmpipe.optimize.optimizer import Cost, Sizes
from lmpipe.optimize.task import Task
from lmpipe.program import Predictor
from lmpipe.state import Adapter, ProgramState
from lmpipe.trace import Trace
from lmpipe.weights.rows import TrainingRow, preference_rows, training_rows
from lmpipe.weights.settings import TrainingSettings


@dataclass(frozen=True, kw_only=True)
class BootstrapFinetune:
    """Train LoRA adapters on the traces that the metric passes; keep those that help.

    The teacher runs on the training examples; what each predictor was asked and answered in runs
    that passed becomes a row of that predictor, written as the student will be asked. Where the
    metric tells parts by the names of output fields, each predictor is judged by its own. One
    adapter is trained for each predictor, or one for all. The program with all of them races the
    program without any, and without single ones, so that each stays only where it helps on
    validation.

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
            a shorter prompt is half of what weights are for.
        shared: one adapter for all predictors, in place of one for each.
        training: how adapters are trained.

    Raises:
        RecipeError: if a number is out of range.
    """

    samples: int = 1
    threshold: float = 1.0
    teacher_demos: int = 8
    demos: bool = False
    shared: bool = False
    training: TrainingSettings = field(default_factory=TrainingSettings)
    name: str = "finetune"

    def __post_init__(self) -> None:
        if self.samples < 1 or self.teacher_demos < 0:
            raise RecipeError(f"{self}: needs 1 sample or more, and 0 teacher_demos or more")
        if self.training.method == "dpo" and self.samples < 2:
            raise RecipeError(
                "preference training (method='dpo') compares answers to one question: set "
                "samples to 2 or more"
            )

    async def optimize(self, task: Task) -> ProgramState:
        teacher = taught(task, self.teacher_demos, task.rng("teacher"))
        rollouts: list[Rollout] = []
        for sample in range(self.samples):
            rollouts += await task.rollouts(
                teacher, task.train, sample=sample, threshold=self.threshold
            )
        start = task.start if self.demos else without_demos(task.start)
        return await trained(
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


def taught(task: Task, count: int, rng: random.Random) -> ProgramState:
    """What a teacher runs with: the best prompt so far, or the nearest labeled examples."""
    best = task.best.state
    if not count or any(item.demos or item.retrieval for item in best.predictors.values()):
        return best
    pools = labeled_demos(task.predictors, task.train)
    pools = {path: rng.sample(pool, len(pool)) for path, pool in pools.items()}
    return with_retrieval(best, pools, k=count)


def without_demos(state: ProgramState) -> ProgramState:
    """A copy of a state that shows no demonstrations."""
    return state.map(demos=(), retrieval=None)


async def trained(
    task: Task,
    start: ProgramState,
    rollouts: Sequence[Rollout],
    training: TrainingSettings,
    *,
    threshold: float,
    shared: bool = False,
) -> ProgramState:
    """Train adapters on rollouts, and keep those that help.

    Args:
        task: the task.
        start: what the student runs with beside its adapters.
        rollouts: the teacher's runs.
        training: how adapters are trained.
        threshold: the score from which a predictor learns from a run.
        shared: one adapter for all predictors.

    Returns:
        The best state so far, with or without adapters.
    """
    seed = (training.seed + task.rng("training").getrandbits(31)) % 2**32
    training = replace(training, seed=seed)
    rows = _rows(task, start, rollouts, training, threshold)
    task.note("rows", counts={path: len(items) for path, items in rows.items()})
    adapters = await _adapters(task, {p: r for p, r in rows.items() if r}, training, shared=shared)
    if adapters:
        await _gate(task, start, adapters)
    return task.best.state


def gate_cost(sizes: Sizes) -> int:
    """The most runs that it takes to find out which adapters help."""
    return (sizes.predictors * (sizes.predictors + 1) // 2 + 1) * sizes.val


def _rows(
    task: Task,
    start: ProgramState,
    rollouts: Sequence[Rollout],
    training: TrainingSettings,
    threshold: float,
) -> dict[str, list[TrainingRow]]:
    passed: dict[str, list[Trace]] = {path: [] for path in task.predictors}
    failed: dict[str, list[Trace]] = {path: [] for path in task.predictors}
    for rollout in rollouts:
        for path, predictor in task.predictors.items():
            good = own_score(rollout, predictor) >= threshold and rollout.row.failure is None
            (passed if good else failed)[path].append(rollout.row.trace)
    program = task.program.bind(start)
    if training.method == "sft":
        return training_rows(program, passed)
    return preference_rows(program, passed, failed)


def own_score(rollout: Rollout, predictor: Predictor) -> float:
    """How well a predictor did in a run: by its own outputs, where the metric tells of them.

    A metric that has parts by the names of output fields, as `lmpipe.metrics.fields` does, judges
    each predictor by the mean of its own; any other judges all of them by the whole.
    """
    score = rollout.row.score
    own = [score.parts[name] for name in predictor.spec.output_names if name in score.parts]
    return sum(own) / len(own) if own else score.value


async def _adapters(
    task: Task,
    rows: Mapping[str, Sequence[TrainingRow]],
    training: TrainingSettings,
    *,
    shared: bool,
) -> dict[str, Adapter]:
    if shared and rows:
        together = list(dict.fromkeys(row for items in rows.values() for row in items))
        adapter = await task.train_adapter("shared", together, training)
        return dict.fromkeys(task.predictors, adapter)
    return {path: await task.train_adapter(path, items, training) for path, items in rows.items()}


async def _gate(task: Task, start: ProgramState, adapters: Mapping[str, Adapter]) -> None:
    """Race the program with all adapters, then without single ones, as long as that helps."""
    kept = dict(adapters)
    await task.race([("all adapters", _with(start, kept))])
    while len(set(kept.values())) > 1:
        fewer = {
            path: {other: adapter for other, adapter in kept.items() if other != path}
            for path in kept
        }
        await task.race(
            [(f"no adapter for {path}", _with(start, rest)) for path, rest in fewer.items()]
        )
        better = [rest for rest in fewer.values() if _with(start, rest) == task.best.state]
        if not better:
            return
        kept = better[0]


def _with(start: ProgramState, adapters: Mapping[str, Adapter]) -> ProgramState:
    return start.update(
        {path: start[path].replace(adapter=adapter) for path, adapter in adapters.items()}
    )
