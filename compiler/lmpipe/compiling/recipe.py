"""`Recipe`: the parts of a compile, and `prepare`, which reads and checks them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

from lmpipe.compiling.ablation import MOST_EXAMPLES
from lmpipe.compiling.plan import Phase, Plan, baselines
from lmpipe.compiling.recipe_checks import check_parts, check_returns
from lmpipe.compiling.state_parts import most_states
from lmpipe.data.example import Example
from lmpipe.data.source import Data, load_examples
from lmpipe.data.splits import check_disjoint, fingerprint, sample_examples, shuffled, split_off
from lmpipe.errors import DataError, RecipeError
from lmpipe.evaluation.evaluate import check_inputs
from lmpipe.foundation.canonical_json import digest
from lmpipe.foundation.checks import check_fields
from lmpipe.foundation.foreign import native
from lmpipe.lm.lm import LM, as_lm
from lmpipe.lm.model_table import price_of
from lmpipe.lm.spend import Spend
from lmpipe.metrics import AnyMetric, bind_metric, metric_calls, metric_fingerprint, metric_name
from lmpipe.modules.binding import uncounted_uses, walk
from lmpipe.modules.declared import attempts_around, declared_program
from lmpipe.modules.module import Module, Predictor
from lmpipe.modules.retrieve import Retrieve
from lmpipe.optimize.auto import Auto
from lmpipe.optimize.by_name import optimizer_named
from lmpipe.optimize.engine.budget import Budget
from lmpipe.optimize.engine.objectives import Objectives
from lmpipe.optimize.engine.optimizer import Optimizer, Sizes
from lmpipe.optimize.engine.race_rules import Racing
from lmpipe.optimize.engine.roles import LMRoles
from lmpipe.optimize.engine.worst_case import (
    embedder_of,
    embedding_everywhere,
    extractors,
    in_costliest_layout,
    judge_lms,
    own_lms,
    search_embedders,
    worst_ask,
    worst_pool,
    worst_run,
)
from lmpipe.serving.spec import ServerSpec
from lmpipe.settings import DEFAULT_LM, configured_lm
from lmpipe.weights.settings import TrainingSettings
from lmpipe.weights.trainer import Trainer

# Who named an LM: the recipe; `lmpipe.configure` or `using`; or nobody.
LMSource: TypeAlias = Literal["recipe", "configured", "default"]
LM_SOURCES: Mapping[LMSource, str] = {
    "recipe": "",
    "configured": "the configured LM: the recipe names none",
    "default": "the embedded model: neither the recipe nor lmpipe.configure names an LM",
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The parts of a compile.

    Args:
        program: the program as declared.
        train: examples to learn from.
        val: examples to compare candidates on; split off from `train` by default.
        test: examples for the one final comparison; None for no test.
        metric: `(example, prediction, trace | None) -> bool | float | Score`. A metric that asks
            an LM declares its maximum calls for one row by `@lmpipe.metrics.judge(max_calls=…)`.
        optimizer: an optimizer, or its name; `Auto` by default.
        student: the LM that the compiled program will use; the configured LM by default, and the
            embedded model if none is configured.
        teacher: the LM of rollouts; the student by default.
        teacher_program: a program that makes the rollouts in place of `program`, such as a larger
            one that was compiled before. Its traces serve the predictors of `program` with the
            same path and signature.
        proposer: the LM that writes instructions; the teacher by default.
        judge: the LM of a metric that asks one; the configured LM by default, even if the recipe
            names a student.
        embedder: an embedding LM to find the demonstrations nearest to each input; by default
            they are found by words.
        budget: the maximum spend of the compile.
        seed: the seed of all randomness, 0 or more.
        racing: when candidates that are behind are dropped before they have met all validation
            examples; None scores every candidate on all of them.
        objectives: what a candidate is compared by, as weights by name: `score`, the metric's score
            (1 by default); `tokens`, 1,000 tokens of a run; `usd`, a dollar for 1,000 runs. With
            `{"score": 1, "tokens": -0.02}`, 1,000 tokens more must bring two points. Calls of the
            metric do not count; see `Objectives`. None compares scores; of equal ones, that with
            the fewest tokens wins.
        train_check: the number of training examples to score the result on, to compare with
            validation and test and so detect memorized answers; 0 for none.
        ablation: whether to take the result apart after the test, as far as the budget allows: on
            up to 100 validation examples, what it loses without each part that was learned, and
            what each part adds alone.
        train_size: the number of examples to draw from `train`, 1 or more; all by default.
        val_size: the number of examples to draw from `val`, 1 or more; all by default, or a third
            of `train` if `val` is split off. Rows with the same inputs are split off together.
        test_size: the number of examples to draw from `test`, 1 or more; all by default.
        name: the name of the run; by default the name of the program's class.
        servers: how vLLM is started for LMs named `vllm/<model>` without a URL, by model name; an
            LM without a spec is served with the defaults. The model `local` has the weights of
            `LM("local")`.
        trainer: trains weights, if the optimizer does; by default TRL in a subprocess.
        base_model: the folder or hub name of the student's weights, for training; by default the
            model that its server serves.

    Raises:
        ConfigError: if an LM is neither an LM nor a name.
        RecipeError: if a number is out of range, or a part is of another kind.
    """

    program: Module
    train: Data
    metric: AnyMetric
    val: Data | None = None
    test: Data | None = None
    optimizer: Optimizer | str = field(default_factory=Auto)
    student: LM | None = None
    teacher: LM | None = None
    teacher_program: Module | None = None
    proposer: LM | None = None
    judge: LM | None = None
    embedder: LM | None = None
    budget: Budget = field(default_factory=Budget)
    seed: int = 0
    racing: Racing | None = field(default_factory=Racing)
    objectives: Mapping[str, float] | None = None
    train_check: int = 32
    ablation: bool = True
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
        for part in ("program", "teacher_program"):
            object.__setattr__(self, part, native(getattr(self, part)))
        if isinstance(self.program, Module):
            metric = declared_program(self.program).metric_for(self.metric)
            object.__setattr__(self, "metric", metric)
        for role in ("student", "teacher", "proposer", "judge", "embedder"):
            object.__setattr__(self, role, as_lm(getattr(self, role)))
        check_parts(self)

    def replace(self, **changes: Any) -> Recipe:
        """Return a copy with some parts changed."""
        return dataclasses.replace(self, **changes)


@dataclass(frozen=True, kw_only=True)
class PreparedRecipe:
    """A recipe whose parts are read, checked and fingerprinted.

    There is a judge only if the metric asks one. The test set may be empty. `named` are the roles
    whose LM the recipe names. The identity is everything that decides the result, as JSON without
    secrets.
    """

    recipe: Recipe
    optimizer: Optimizer
    lms: LMRoles
    named: frozenset[str]
    train: tuple[Example, ...]
    val: tuple[Example, ...]
    test: tuple[Example, ...]
    identity: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The name of the run."""
        return self.recipe.name or type(declared_program(self.recipe.program)).__name__

    @property
    def hash(self) -> str:
        """The hash of the identity."""
        return digest(self.identity)

    def lm_source(self, role: Literal["student", "judge"]) -> LMSource:
        """Say who named the LM of a role."""
        if role in self.named:
            return "recipe"
        return "default" if getattr(self.lms, role) is DEFAULT_LM else "configured"

    @property
    def objectives(self) -> Objectives | None:
        """What candidates are compared by; None compares their scores."""
        return Objectives.of(self.recipe.objectives)

    @property
    def sizes(self) -> Sizes:
        """The sizes that an optimizer's cost depends on."""
        return Sizes(
            len(self.train),
            len(self.val),
            len(self.recipe.program.predictors()),
            limited=self.recipe.budget != Budget(),
            trainer=self.recipe.trainer is not None,
        )

    @property
    def trainings(self) -> tuple[TrainingSettings, ...]:
        """The settings of the trainings that the optimizer may do."""
        return self.optimizer.cost(self.sizes).trainings

    def plan(self) -> Plan:
        """Plan what the compile will do at most."""
        recipe, lms, sizes = self.recipe, self.lms, self.sizes
        program, cost = recipe.program, self.optimizer.cost(sizes)
        base, per_result = len(baselines(program)), cost.per_result
        if lms.embedder is not None and cost.pools:
            program = embedding_everywhere(program, lms.embedder)
        others = (recipe.metric, lms.judge, lms.embedder)
        run = worst_run(program, [lms.student], *others)
        candidate = in_costliest_layout(program, cost.layouts)
        result_run = worst_run(candidate, [lms.student], *others)
        # Only the search uses the teacher: its price must not make the test look expensive.
        search_run = worst_run(candidate, [lms.student, lms.teacher], *others)
        if recipe.teacher_program is not None:
            rollout = worst_run(recipe.teacher_program, [lms.teacher], *others)
            search_run = search_run.maximum(rollout)
        search = search_run * cost.runs + worst_ask(lms.proposer) * cost.asks
        if lms.embedder is not None:
            search += worst_pool(sizes.train * sizes.predictors, lms.embedder) * cost.pools
            search += Spend.worst_case(cost.texts, [lms.embedder])
        checked = per_result * min(recipe.train_check, sizes.train)
        ablated = most_states(trains=bool(cost.trainings), members=per_result)
        ablated *= per_result * min(MOST_EXAMPLES, sizes.val)

        def phase(label: str, runs: int, results: int = 0) -> Phase:
            return Phase(label, runs + results, run * runs + result_run * results)

        return Plan(
            baselines=phase("baselines on validation", base * sizes.val),
            search=Phase(f"{self.optimizer.name} on train and validation", cost.runs, search),
            result=phase("the result on validation", 0, per_result * sizes.val),
            test=phase(
                "baselines and result on test", base * len(self.test), per_result * len(self.test)
            ),
            train_check=phase("the result on train", 0, checked) if recipe.train_check else None,
            ablation=phase("parts of the result on validation", 0, ablated)
            if recipe.ablation
            else None,
            calls_per_run=program.calls_per_run(),
            judge_calls=metric_calls(recipe.metric),
            asks=cost.asks,
            open_ended=cost.open_ended,
        )


def check_program(recipe: Recipe) -> None:
    """Refuse a recipe whose program is something else."""
    program: object = recipe.program
    if not isinstance(program, Module):
        raise RecipeError(
            f"the program is {program!r:.100}: give a lmpipe.Module instance, such as Tickets()"
        )


def prepare(recipe: Recipe) -> PreparedRecipe:
    """Read and check all parts of a recipe: its program, metric, examples, LMs and budget."""
    given: object = recipe
    if not isinstance(given, Recipe):
        raise RecipeError(
            f"expected a recipe, got {given!r:.100}: write lmpipe.compile(lmpipe.Recipe("
            "program=…, train=…, metric=…))"
        )
    check_program(recipe)
    if not recipe.program.predictors():
        raise RecipeError(
            f"{type(recipe.program).__name__} has no predictors: assign them in __init__, as in "
            "self.answer = lmpipe.Predict(…)"
        )
    check_returns(recipe.program)
    _check_uses(recipe)
    if not callable(recipe.metric):
        raise RecipeError(
            f"the metric {recipe.metric!r:.100} is not callable: give a function of an example and "
            "a prediction, such as exact_match('answer') of lmpipe.metrics"
        )
    bind_metric(recipe.metric)  # checks its parameters
    optimizer = recipe.optimizer
    if isinstance(optimizer, str):
        optimizer = optimizer_named(optimizer)
    train, val, test = _splits(recipe)
    for part in (train, val, test):
        if part:
            check_inputs(recipe.program, part[0])
    if recipe.teacher_program is not None:
        check_inputs(recipe.teacher_program, train[0])
    student = recipe.student or configured_lm()
    teacher = recipe.teacher or student
    lms = LMRoles(
        student=student,
        teacher=teacher,
        proposer=recipe.proposer or teacher,
        judge=(recipe.judge or configured_lm()) if metric_calls(recipe.metric) else None,
        embedder=recipe.embedder or embedder_of(recipe.program, recipe.teacher_program),
    )
    if recipe.budget.usd is not None:
        _check_prices(recipe, _role_lms(recipe, lms), "the budget is in dollars")
    if (recipe.objectives or {}).get("usd"):
        run_lms = [lms.student, *filter(None, [lms.embedder]), *search_embedders(recipe.program)]
        _check_prices(recipe, run_lms, "the objectives weigh dollars")
    identity = _identity(recipe, optimizer, lms, {"train": train, "val": val, "test": test})
    return PreparedRecipe(
        recipe=recipe,
        optimizer=optimizer,
        lms=lms,
        named=frozenset(role for role in ("student", "judge") if getattr(recipe, role) is not None),
        train=tuple(train),
        val=tuple(val),
        test=tuple(test),
        identity=identity,
    )


def _check_uses(recipe: Recipe) -> None:
    """Refuse a limit on spend for a program whose maximum of LM calls is not known."""
    budget = recipe.budget
    if all(limit is None for limit in (budget.calls, budget.tokens, budget.usd)):
        return
    if uncounted := uncounted_uses(recipe.program, Predictor):
        remedy = declared_program(recipe.program).max_calls_remedy
        raise RecipeError(
            f"the budget ({budget}) relies on the maximum of LM calls of one run, but "
            f"{', '.join(uncounted)} is used in a loop whose length is not known: {remedy}, "
            "retries included"
        )


def _check_prices(recipe: Recipe, lms: Sequence[LM], why: str) -> None:
    """Refuse LMs without a known price, whose calls could not be counted in dollars."""
    own = [*own_lms(recipe.program).items(), *extractors(recipe.program).items()]
    problems = {
        **{f"{path} uses {lm.model} without a price": lm for path, lm in own},
        **{f"the price of {lm.model} is unknown": lm for lm in lms},
    }
    for problem, lm in problems.items():
        if price_of(lm) is None:
            raise RecipeError(
                f"{why} and {problem}: give it as LM(…, price=(dollars per "
                "million prompt tokens, per million completion tokens))"
            )


def _role_lms(recipe: Recipe, lms: LMRoles) -> list[LM]:
    """List all LMs of a compile, except those that predictors name themselves."""
    programs = (recipe.program, recipe.teacher_program)
    embedders = [lm for program in programs for lm in search_embedders(program)]
    others = [*judge_lms(recipe.metric, lms.judge), *filter(None, [lms.embedder]), *embedders]
    return [lms.student, lms.teacher, lms.proposer, *others]


def _splits(recipe: Recipe) -> tuple[list[Example], list[Example], list[Example]]:
    train = load_examples("train", recipe.train)
    if recipe.val is None:
        train = shuffled(train, recipe.seed)
        val, train = split_off(train, recipe.val_size or max(1, len(train) // 3))
    else:
        val = _sample(recipe, "val", load_examples("val", recipe.val))
    train = _sample(recipe, "train", train)
    test: list[Example] = []
    if recipe.test is not None:
        test = _sample(recipe, "test", load_examples("test", recipe.test))
    check_disjoint(train=train, val=val, test=test)
    return train, val, test


def _sample(recipe: Recipe, name: str, examples: list[Example]) -> list[Example]:
    """Draw as many of a split's examples as the recipe says."""
    size: int | None = getattr(recipe, f"{name}_size")
    try:
        return sample_examples(examples, size, recipe.seed)
    except DataError as error:
        raise DataError(f"{name}_size={size}: {error} in {name}") from error


def _identity(
    recipe: Recipe, optimizer: Optimizer, lms: LMRoles, data: Mapping[str, Sequence[Example]]
) -> dict[str, Any]:
    teacher_program, predictors = recipe.teacher_program, recipe.program.predictors()
    used = _role_lms(recipe, lms)
    prices = [price_of(lm) if recipe.budget.usd is not None else None for lm in used]
    signatures = {path: predictor.spec.describe() for path, predictor in predictors.items()}
    searches = {path: retrieve.identity() for path, retrieve in walk(recipe.program, Retrieve)}
    return {
        "program": {**_program_identity(recipe.program), "signatures": signatures},
        "data": {
            name: {"rows": len(rows), "fingerprint": fingerprint(rows)}
            for name, rows in data.items()
        },
        "metric": {
            "name": metric_name(recipe.metric),
            "fingerprint": metric_fingerprint(recipe.metric),
        },
        **({"searches": searches} if searches else {}),
        "optimizer": {"name": optimizer.name, "settings": optimizer.settings()},
        "student": lms.student.identity(),
        "teacher": lms.teacher.identity(),
        "proposer": lms.proposer.identity(),
        **({"judge": lms.judge.identity()} if lms.judge else {}),
        **({"embedder": lms.embedder.identity()} if lms.embedder else {}),
        **({"teacher_program": _program_identity(teacher_program)} if teacher_program else {}),
        "budget": recipe.budget.to_json(),
        # The worst case of a run decides where a budget ends.
        "limits": {
            "contexts": [lm.context for lm in used],
            "prices": [price.to_json() if price else None for price in prices],
            "judge_calls": metric_calls(recipe.metric),
        },
        "seed": recipe.seed,
        "race": asdict(recipe.racing) if recipe.racing else False,
        "train_check": recipe.train_check,
        **_identity_of_objectives(recipe, lms),
    }


def _identity_of_objectives(recipe: Recipe, lms: LMRoles) -> dict[str, Any]:
    objectives = Objectives.of(recipe.objectives)
    if objectives is None:
        return {}
    described: dict[str, Any] = asdict(objectives)
    if objectives.usd:  # prices then decide which candidate is the best
        own = [*own_lms(recipe.program).values(), *extractors(recipe.program).values()]
        prices = [price_of(lm) for lm in [lms.student, *own]]
        described["prices"] = [price.to_json() if price else None for price in prices]
    return {"objectives": described}


def _program_identity(program: Module) -> dict[str, Any]:
    return {
        "class": type(declared_program(program)).__qualname__,
        "source": source_hash(program),
        "state": program.state().hash,
    }


def source_hash(program: Module) -> str:
    """Hash the source of a program's class, or its name if the source is not available.

    Attempts around the program count with their settings.
    """
    declared = declared_program(program)
    source = declared.declared_source or type(declared).__qualname__
    around = [attempts.identity() for attempts in attempts_around(program)]
    return digest([source, around] if around else source)
