"""Rules by which the rows to train on are chosen, when fewer are wanted than there are.

Which rows teach a small LM most is an open question; "A Survey on Data Selection for LLM
Instruction Tuning" (arXiv 2402.05123) has an overview. Rules differ in what they look at: nothing,
what the student gets wrong, how the inputs differ, or what helps the student in its prompt.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

from lmpipe.data.example import Example
from lmpipe.foundation.canonical_json import canonical_json
from lmpipe.modules.module import Predictor
from lmpipe.modules.retrieval import demo_text
from lmpipe.optimize.engine.events import Rollout
from lmpipe.optimize.engine.optimizer import Cost, DataclassSettings, Sizes, check_settings
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.shared.demo_gains import try_demos, trying_cost
from lmpipe.optimize.shared.judged_runs import predictor_score
from lmpipe.optimize.shared.spread_order import similar_vectors, similar_words, spread_order
from lmpipe.state.program_state import Demo, ProgramState

T = TypeVar("T")

# The rules that have a name.
RowRuleName = Literal["random", "need", "diverse", "preferred"]

# For each predictor path, one passed run of each training example that gives it a row.
RowPools = Mapping[str, Sequence[Rollout]]


@runtime_checkable
class RowRule(Protocol):
    """A rule that says which training rows come first."""

    @property
    def name(self) -> str:
        """Its name in reports."""
        ...

    async def order(self, task: Task, student: ProgramState, pools: RowPools) -> RowPools:
        """Order each predictor's runs: those to learn from first.

        Args:
            task: the engine; random choices come from `task.rng(name)`.
            student: what the student runs with when it is trained.
            pools: one passed run of each example, by the path of the predictor that has more rows
                than are wanted.

        Returns:
            The same runs in another order. A run that is left out gives no row.
        """
        ...

    def cost(self, sizes: Sizes) -> Cost:
        """Return the maximum that `order` does on data of these sizes."""
        ...

    def settings(self) -> dict[str, Any]:
        """Return its settings, as JSON."""
        ...


@dataclass(frozen=True, kw_only=True)
class RandomRows(DataclassSettings):
    """Choose rows at random."""

    name: str = "random"

    async def order(self, task: Task, student: ProgramState, pools: RowPools) -> RowPools:
        return _shuffled(task, pools)

    def cost(self, sizes: Sizes) -> Cost:
        return Cost(0)


@dataclass(frozen=True, kw_only=True)
class NeededRows(DataclassSettings):
    """Choose what the student gets wrong.

    The student runs once on each example. Rows on which it scores lowest come first, and labels
    that it gets wrong more often get more rows. If all its replies are unreadable, it needs all
    rows equally: let it start with constrained outputs.

    Source: the criterion of necessity of MoDS (arXiv 2311.15653), and the mixture of Skill-It
    (arXiv 2307.14430, algorithm 1), in which a skill has a weight in proportion to
    `exp(eta · loss)`. Deviations: the metric judges the replies, of the student before any
    training; the skills are the labels, without a graph of skills; weights are set once.

    Cost: one run of the program for each training example.

    Args:
        eta: how strongly shares depend on the student's errors, 0 or more; with 0 all labels have
            equal shares, with 1 a label that it always gets wrong has 2.7 times the share of one
            that it always gets right.

    Raises:
        RecipeError: if `eta` is out of range.
    """

    eta: float = 1.0
    name: str = "need"

    def __post_init__(self) -> None:
        check_settings(self, "eta", minimum=0)

    async def order(self, task: Task, student: ProgramState, pools: RowPools) -> RowPools:
        examples = _examples(pools)
        rows = await task.trials([(student, example) for example in examples])
        ran = dict(zip(examples, rows, strict=True))
        ordered = {}
        for path, runs in _shuffled(task, pools).items():
            predictor = task.predictors[path]
            needs = [1 - predictor_score(ran[run.row.example], predictor) for run in runs]
            ordered[path] = _by_label(predictor, path, runs, needs, self._share)
        return ordered

    def _share(self, needs: Sequence[float]) -> float:
        # In proportion to `exp(eta · need)`, and never too large for a float.
        return math.exp(self.eta * (fmean(needs) - 1))

    def cost(self, sizes: Sizes) -> Cost:
        return Cost(sizes.train)


@dataclass(frozen=True, kw_only=True)
class DiverseRows(DataclassSettings):
    """Choose rows whose inputs represent all others.

    Inputs are compared by embeddings if the recipe has an embedder, otherwise by words. If a
    predictor is called several times in a run, one of its calls stands for the run.

    Source: the facility location function, as the diversity in QDIT, "Data Diversity Matters for
    Robust Instruction Tuning" (arXiv 2311.14736). Deviation: its quality score has no part in it,
    as rows that do not pass the metric are left out before.

    Cost: no run of the program; each text is embedded once if there is an embedder. Time and memory
    grow with the square of the number of rows.
    """

    name: str = "diverse"

    async def order(self, task: Task, student: ProgramState, pools: RowPools) -> RowPools:
        shuffled = _shuffled(task, pools)  # of equal rows the earlier one comes first
        demos = {path: [demo_of(run, path) for run in runs] for path, runs in shuffled.items()}
        embedded = await task.embed(demos)
        ordered = {}
        for path, runs in shuffled.items():
            if embedded is not None:
                similar = similar_vectors(embedded(path, demos[path]))
            else:
                spec = task.predictors[path].spec
                similar = similar_words([demo_text(spec, demo) for demo in demos[path]])
            ordered[path] = [runs[place] for place in spread_order(similar)]
        return ordered

    def cost(self, sizes: Sizes) -> Cost:
        return Cost(0, pools=1)


@dataclass(frozen=True, kw_only=True)
class PreferredRows(DataclassSettings):
    """Choose rows that help the student most as demonstrations.

    Each row is shown alone while the student runs on the training examples nearest to it, and
    those that raise its score most come first. Labels take turns.

    Source: ARTE, "Aligning Teacher with Student Preferences" (arXiv 2406.19227, section 3.2): what
    helps the student in context also teaches it. Deviation: rows are chosen by it; no teacher is
    trained to write such rows.

    Cost: `neighbors + 1` runs of the program for each training example.

    Args:
        neighbors: the number of training examples on which each row is tried, 1 or more.

    Raises:
        RecipeError: if `neighbors` is out of range.
    """

    neighbors: int = 4
    name: str = "preferred"

    def __post_init__(self) -> None:
        check_settings(self, "neighbors", minimum=1, integer=True)

    async def order(self, task: Task, student: ProgramState, pools: RowPools) -> RowPools:
        tried: dict[Example, dict[str, Demo]] = {example: {} for example in _examples(pools)}
        for path, runs in pools.items():
            for run in runs:
                tried[run.row.example][path] = demo_of(run, path)
        trials = await try_demos(task, student, tried, self.neighbors)
        trial_of = dict(zip(tried, trials, strict=True))
        ordered = {}
        for path, runs in _shuffled(task, pools).items():
            predictor = task.predictors[path]
            score = partial(predictor_score, predictor=predictor)
            gains = [trial_of[run.row.example].gain(score) for run in runs]
            ordered[path] = _by_label(predictor, path, runs, gains, lambda _: 1.0)
        return ordered

    def cost(self, sizes: Sizes) -> Cost:
        return trying_cost(sizes.train, self.neighbors, sizes)


NAMED_RULES: Mapping[RowRuleName, Callable[[], RowRule]] = {
    "random": RandomRows,
    "need": NeededRows,
    "diverse": DiverseRows,
    "preferred": PreferredRows,
}


def demo_of(run: Rollout, path: str) -> Demo:
    """Return what a predictor did in a run, as a demonstration; of several calls, one of them."""
    identity = run.row.trace.example
    example = identity.digest or None if identity else None
    demos = [
        Demo(inputs=step.inputs, outputs=step.outputs, source="bootstrapped", example=example)
        for step in run.row.trace.of(path)
        if step.exemplary
    ]
    # Concurrent calls end in any order.
    return min(demos, key=lambda demo: demo.hash)


def in_shares(groups: Sequence[Sequence[T]], weights: Sequence[float]) -> list[T]:
    """Merge groups so that any first part has of each a share in proportion to its weight.

    A group that is used up leaves its share to the others. Of equal claims, that of the earlier
    group comes first.
    """
    taken = [0] * len(groups)
    merged: list[T] = []
    for _ in range(sum(map(len, groups))):
        claims = [
            weight / (used + 1) if used < len(group) else -1.0
            for group, weight, used in zip(groups, weights, taken, strict=True)
        ]
        chosen = claims.index(max(claims))
        merged.append(groups[chosen][taken[chosen]])
        taken[chosen] += 1
    return merged


def _examples(pools: RowPools) -> list[Example]:
    return list(dict.fromkeys(run.row.example for runs in pools.values() for run in runs))


def _shuffled(task: Task, pools: RowPools) -> dict[str, list[Rollout]]:
    rng = task.rng("rows")
    return {path: rng.sample(list(runs), len(runs)) for path, runs in pools.items()}


def _by_label(
    predictor: Predictor,
    path: str,
    runs: Sequence[Rollout],
    values: Sequence[float],
    share: Callable[[Sequence[float]], float],
) -> list[Rollout]:
    """Order runs by their values, highest first, and give each label a share of any first part.

    `share` computes a label's share from the values of its runs. A predictor whose outputs have
    no fixed set of values has one label.
    """
    label = predictor.spec.label
    groups: dict[bytes, list[int]] = {}
    for place, run in enumerate(runs):
        given = demo_of(run, path).outputs.get(label) if label is not None else None
        groups.setdefault(canonical_json(given), []).append(place)
    ranked = [sorted(group, key=lambda place: -values[place]) for group in groups.values()]
    shares = [share([values[place] for place in group]) for group in ranked]
    return [runs[place] for place in in_shares(ranked, shares)]
