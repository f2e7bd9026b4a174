"""`Recipe`: what a compile is made of, and the plan that follows from it."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lmpipe.compiling.baselines import baselines
from lmpipe.data.example import Example
from lmpipe.data.source import Data, load_examples
from lmpipe.data.splits import check_disjoint, fingerprint, sample_examples, shuffled
from lmpipe.errors import DataError, RecipeError
from lmpipe.evaluation.evaluate import check_inputs
from lmpipe.foundation.canonical_json import digest
from lmpipe.foundation.checks import check_fields
from lmpipe.lm.lm import LM
from lmpipe.lm.price_list import price_of
from lmpipe.lm.spend import Spend
from lmpipe.metrics import AnyMetric, metric_calls, metric_fingerprint, metric_name
from lmpipe.modules.module import Module, first_member
from lmpipe.optimize.by_name import optimizer_named
from lmpipe.optimize.engine.budget import Budget
from lmpipe.optimize.engine.optimizer import Optimizer, Sizes
from lmpipe.optimize.engine.roles import LMRoles
from lmpipe.optimize.engine.worst_case import (
    embedder_of,
    embedding_everywhere,
    judge_lms,
    own_lms,
    worst_ask,
    worst_pool,
    worst_run,
)
from lmpipe.optimize.random_search import RandomSearch
from lmpipe.serving.spec import ServerSpec
from lmpipe.settings import configured_lm
from lmpipe.weights.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a compile is made of.

    Args:
        program: the program as declared.
        train: examples to learn from.
        val: examples on which candidates are compared; split off from `train` if not given.
        test: examples for the one final comparison; None does without it.
        metric: `(example, prediction, trace | None) -> bool | float | Score`. One that asks an LM
            says how often at most for one row, by `@lmpipe.metrics.judge(max_calls=…)`.
        optimizer: an optimizer, or its name.
        student: the LM that the compiled program will run on.
        teacher: the LM of rollouts; the student if not given.
        teacher_program: a program that makes the rollouts, as it is, such as a larger one that
            was compiled before; what its predictors did serves those of `program` that have the
            same path and signature.
        proposer: the LM that writes instructions and the like; the teacher if not given.
        judge: the LM of a metric that asks one; the configured one if not given, never the
            student by itself.
        embedder: an embedding LM, by whose vectors the demonstrations nearest to each input are
            chosen; by their words if not given.
        budget: the most that the compile may spend.
        seed: all randomness comes from it.
        race: drop candidates that are behind by more than chance before they have met all
            validation examples.
        train_check: training examples on which the winner is scored after the search, beside
            validation and test, to tell what it learned from what it knows by heart; 0 is none.
        train_size: examples to take of `train`, drawn by the seed; None takes all.
        val_size: the same for `val`; if `val` is split off, a third by default.
        test_size: the same for `test`.
        name: the name of the run; by default that of the program's class.
        servers: how vLLM is started for LMs named `vllm/<model>` that have no address, by the
            name that they have there; one that is not told of is started with its defaults. The
            model `local` is that of `LM("local")`.
        trainer: who trains weights, where the optimizer does; by default TRL, in a process of its
            own.
        base_model: the folder or hub name of the student's weights, for training; by default
            what its server serves.
    """

    program: Module
    train: Data
    metric: AnyMetric
    val: Data | None = None
    test: Data | None = None
    optimizer: Optimizer | str = field(default_factory=RandomSearch)
    student: LM = field(default_factory=lambda: LM("local"))
    teacher: LM | None = None
    teacher_program: Module | None = None
    proposer: LM | None = None
    judge: LM | None = None
    embedder: LM | None = None
    budget: Budget = field(default_factory=Budget)
    seed: int = 0
    race: bool = True
    train_check: int = 32
    train_size: int | None = None
    val_size: int | None = None
    test_size: int | None = None
    name: str = ""
    servers: Sequence[ServerSpec] = ()
    trainer: Trainer | None = None
    base_model: str | None = None

    def __post_init__(self) -> None:
        sizes = ("train_size", "val_size", "test_size")
        check_fields(self, "seed", "train_check", minimum=0, integer=True, error=RecipeError)
        check_fields(self, *sizes, minimum=1, integer=True, optional=True, error=RecipeError)

    def replace(self, **changes: Any) -> Recipe:
        """A copy with some parts changed."""
        return dataclasses.replace(self, **changes)


@dataclass(frozen=True)
class PreparedRecipe:
    """A recipe whose parts are read, checked and fingerprinted.

    Args:
        recipe: the recipe.
        optimizer: its optimizer.
        train: examples to learn from.
        val: examples on which candidates are compared.
        test: examples of the final comparison; may be empty.
        lms: who is asked, by role; no judge if the metric asks none.
        identity: all that decides the result, as JSON, no secret.
    """

    recipe: Recipe
    optimizer: Optimizer
    lms: LMRoles
    train: tuple[Example, ...]
    val: tuple[Example, ...]
    test: tuple[Example, ...]
    identity: Mapping[str, Any]

    @property
    def name(self) -> str:
        return self.recipe.name or type(first_member(self.recipe.program)).__name__

    @property
    def hash(self) -> str:
        return digest(self.identity)

    @property
    def sizes(self) -> Sizes:
        """How much the optimizer has to work with."""
        predictors = self.recipe.program.predictors()
        return Sizes(len(self.train), len(self.val), len(predictors))

    def plan(self) -> Plan:
        """What the compile will do at most."""
        recipe, lms = self.recipe, self.lms
        program, metric = recipe.program, recipe.metric
        base = len(baselines(program.state()))
        sizes = self.sizes
        search = self.optimizer.cost(sizes)
        searching = f"{self.optimizer.name} on train and validation"
        runs = {
            "baselines on validation": base * len(self.val),
            searching: search.runs,
            "the result on validation": search.per_result * len(self.val),
            "baselines and result on test": (base + search.per_result) * len(self.test),
        }
        if recipe.train_check:
            checked = min(recipe.train_check, len(self.train))
            runs["the result on train"] = search.per_result * checked
        if lms.embedder is not None and search.pools:
            program = embedding_everywhere(program, lms.embedder)
        others = (metric, lms.judge, lms.embedder)
        each = worst_run(program, [lms.student], *others)
        worst = {name: each * n for name, n in runs.items()}
        # Only the search asks the teacher; its prices must not make the test look dear.
        dearest = worst_run(program, [lms.student, lms.teacher], *others)
        if recipe.teacher_program is not None:
            theirs = worst_run(recipe.teacher_program, [lms.teacher], *others)
            dearest = dearest.maximum(theirs)
        worst[searching] = dearest * search.runs + worst_ask(lms.proposer) * search.asks
        if lms.embedder is not None:
            pool = worst_pool(sizes.train * sizes.predictors, lms.embedder)
            worst[searching] += pool * search.pools
        return Plan(runs, program.calls_per_run(), metric_calls(metric), search.asks, worst)


@dataclass(frozen=True)
class Plan:
    """What a compile will do at most.

    Args:
        runs: runs of the program, by phase.
        calls_per_run: the most LM calls of one run, retries included.
        judge_calls: the most LM calls of the metric for one run.
        asks: questions to the proposer.
        worst: the worst case of each phase.
    """

    runs: Mapping[str, int]
    calls_per_run: int
    judge_calls: int
    asks: int
    worst: Mapping[str, Spend]

    @property
    def total(self) -> Spend:
        return sum(self.worst.values(), Spend())


def prepare(recipe: Recipe) -> PreparedRecipe:
    """Read and check all parts of a recipe.

    Raises:
        DataError: if examples cannot be read, do not fit the program or overlap.
        RecipeError: if a part is missing or of the wrong kind.
    """
    if not isinstance(recipe.program, Module):
        raise RecipeError(
            f"the program is {recipe.program!r:.100}: give a lmpipe.Module instance, "
            "such as Tickets()"
        )
    if not recipe.program.predictors():
        raise RecipeError(
            f"{type(recipe.program).__name__} has no predictors: assign them in __init__, as in "
            "self.answer = lmpipe.Predict(…)"
        )
    if not callable(recipe.metric):
        raise RecipeError(f"the metric {recipe.metric!r:.100} cannot be called")
    optimizer = recipe.optimizer
    if isinstance(optimizer, str):
        optimizer = optimizer_named(optimizer)
    train, val, test = _splits(recipe)
    for part in (train, val, test):
        if part:
            check_inputs(recipe.program, part[0])
    if recipe.teacher_program is not None:
        check_inputs(recipe.teacher_program, train[0])
    teacher = recipe.teacher or recipe.student
    lms = LMRoles(
        student=recipe.student,
        teacher=teacher,
        proposer=recipe.proposer or teacher,
        judge=(recipe.judge or configured_lm()) if metric_calls(recipe.metric) else None,
        embedder=recipe.embedder or embedder_of(recipe.program, recipe.teacher_program),
    )
    if recipe.budget.usd is not None:
        _check_prices(recipe, lms)
    return PreparedRecipe(
        recipe=recipe,
        optimizer=optimizer,
        lms=lms,
        train=tuple(train),
        val=tuple(val),
        test=tuple(test),
        identity=_identity(recipe, optimizer, lms, train, val, test),
    )


def _check_prices(recipe: Recipe, lms: LMRoles) -> None:
    """A budget in dollars must not pass by an LM whose price is unknown."""
    own = own_lms(recipe.program).items()
    asked = {
        **{f"{path} brings {lm.model} without a price": lm for path, lm in own},
        **{f"the price of {lm.model} is unknown": lm for lm in _asked(recipe, lms)},
    }
    for problem, lm in asked.items():
        if price_of(lm) is None:
            raise RecipeError(
                f"the budget is in dollars and {problem}: give it as LM(…, price=(dollars per "
                "million prompt tokens, per million completion tokens))"
            )


def _asked(recipe: Recipe, lms: LMRoles) -> list[LM]:
    """All LMs that a compile asks, but for those that predictors bring."""
    others = [*judge_lms(recipe.metric, lms.judge), *filter(None, [lms.embedder])]
    return [lms.student, lms.teacher, lms.proposer, *others]


def _splits(recipe: Recipe) -> tuple[list[Example], list[Example], list[Example]]:
    train = load_examples("train", recipe.train)
    if recipe.val is None:
        train = shuffled(train, recipe.seed)
        count = recipe.val_size or max(1, len(train) // 3)
        if count >= len(train):
            raise DataError(
                f"{len(train)} training rows cannot give {count} validation rows and leave any "
                "to learn from: give more rows, or a val set of its own"
            )
        val, train = train[:count], sample_examples(train[count:], recipe.train_size, recipe.seed)
    else:
        val = sample_examples(load_examples("val", recipe.val), recipe.val_size, recipe.seed)
        train = sample_examples(train, recipe.train_size, recipe.seed)
    test: list[Example] = []
    if recipe.test is not None:
        test = sample_examples(load_examples("test", recipe.test), recipe.test_size, recipe.seed)
    check_disjoint(train=train, val=val, test=test)
    return train, val, test


def _identity(
    recipe: Recipe,
    optimizer: Optimizer,
    lms: LMRoles,
    train: Sequence[Example],
    val: Sequence[Example],
    test: Sequence[Example],
) -> dict[str, Any]:
    teacher_program = recipe.teacher_program
    return {
        "program": {
            **_program_identity(recipe.program),
            "signatures": {
                path: predictor.spec.describe()
                for path, predictor in recipe.program.predictors().items()
            },
        },
        "data": {
            name: {"rows": len(rows), "fingerprint": fingerprint(rows)}
            for name, rows in (("train", train), ("val", val), ("test", test))
        },
        "metric": {
            "name": metric_name(recipe.metric),
            "fingerprint": metric_fingerprint(recipe.metric),
        },
        "optimizer": {"name": optimizer.name, "settings": optimizer.settings()},
        "student": lms.student.identity(),
        "teacher": lms.teacher.identity(),
        "proposer": lms.proposer.identity(),
        **({"judge": lms.judge.identity()} if lms.judge else {}),
        **({"embedder": lms.embedder.identity()} if lms.embedder else {}),
        **({"teacher_program": _program_identity(teacher_program)} if teacher_program else {}),
        "budget": recipe.budget.to_json(),
        # What a run is taken to cost at most decides where a budget ends.
        "limits": _limits(recipe, _asked(recipe, lms)),
        "seed": recipe.seed,
        "race": recipe.race,
        "train_check": recipe.train_check,
    }


def _program_identity(program: Module) -> dict[str, Any]:
    return {
        "class": type(first_member(program)).__qualname__,
        "source": source_hash(program),
        "state": program.state().hash,
    }


def _limits(recipe: Recipe, lms: Sequence[LM]) -> dict[str, Any]:
    prices = [price_of(lm) if recipe.budget.usd is not None else None for lm in lms]
    return {
        "contexts": [lm.context for lm in lms],
        "prices": [price.to_json() if price else None for price in prices],
        "judge_calls": metric_calls(recipe.metric),
    }


def source_hash(program: Module) -> str:
    """A hash of the source of a program's class, or of its name where there is no source."""
    declared = type(first_member(program))
    try:
        return digest(inspect.getsource(declared))
    except (OSError, TypeError):
        return digest(declared.__qualname__)
