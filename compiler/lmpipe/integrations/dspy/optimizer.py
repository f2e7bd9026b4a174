"""`DSPyOptimizer`: DSPy's own optimizers under lmpipe's budget, cache, replay and run folder."""

from __future__ import annotations

import copy
import inspect
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import dspy

from lmpipe.data.example import Example
from lmpipe.errors import ArtifactError, BudgetExhaustedError, RecipeError
from lmpipe.foundation.redaction import without_secrets
from lmpipe.foundation.shorten import short_repr
from lmpipe.integrations.dspy.bridge import BridgeLM
from lmpipe.integrations.dspy.examples import example_to_dspy
from lmpipe.integrations.dspy.lms import AskedLMs, lm_from_dspy
from lmpipe.integrations.dspy.metrics import DSPyMetric
from lmpipe.integrations.dspy.printing import printing_to_stderr
from lmpipe.integrations.dspy.program import DSPyProgram
from lmpipe.integrations.dspy.run import DSPyRun
from lmpipe.integrations.dspy.seen import SeenScores, noted_module
from lmpipe.integrations.dspy.states import learned_in, to_dspy
from lmpipe.lm.code_fingerprint import code_fingerprint
from lmpipe.lm.request import Reply, Request
from lmpipe.lm.scope import scope
from lmpipe.modules.declared import declared_program
from lmpipe.optimize.engine.optimizer import Cost, Sizes
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.shared.blocking_library import StepRunner, run_library
from lmpipe.state.program_state import ProgramState

# Of an optimizer: the LMs that run the program, and those that write instructions.
_OF_PROGRAM = ("task_model",)
_OF_PROPOSER = ("prompt_model", "reflection_lm")
_METRICS = ("metric", "metric_fn")
# What these learn is not a state of the module's predictors.
_OTHER_RESULTS = ("KNNFewShot", "Ensemble", "BootstrapFinetune", "BetterTogether", "GRPO")


@dataclass(frozen=True)
class DSPyOptimizer:
    """Run one of DSPy's optimizers on a DSPy program.

    It searches as it does without lmpipe, on the recipe's training and validation examples; but its
    LM calls go through lmpipe's cache and accounts, end with the budget, and are replayed when a
    killed compile is resumed. What it returns is scored, tested and saved like what any other
    optimizer finds.

    DSPy's optimizers do not say what they cost: a plan counts no more than the validation of the
    result, and says so, so give the recipe a budget. If it ends while one searches, the result is
    the best program that it has scored on all validation examples. The number of its threads
    changes neither its result nor what a resumed compile repeats, but with more than one a budget
    may end at a different call.

    Args:
        optimizer: an optimizer such as `dspy.MIPROv2(metric=…)`, or its class; then it is made
            with the `settings`, the recipe's metric, and its LMs. An LM that it was given is
            asked as its own. The LM that DSPy was configured with when it was made stands for the
            recipe's: for the student where the program runs, for the proposer where instructions
            are written.
        compile_options: further arguments of its `compile`, such as `{"minibatch": False}`.
        settings: of a class: the arguments to make it with.

    Raises:
        RecipeError: if it is not one of DSPy's optimizers, learns something other than instructions
            and demonstrations, or does not take the arguments.
    """

    optimizer: Any
    compile_options: Mapping[str, Any] = field(default_factory=dict)
    settings_of_class: Mapping[str, Any] = field(default_factory=dict)

    def __init__(
        self,
        optimizer: Any,
        *,
        compile_options: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        object.__setattr__(self, "optimizer", optimizer)
        object.__setattr__(self, "compile_options", dict(compile_options or {}))
        object.__setattr__(self, "settings_of_class", settings)
        kind = self._class
        if not issubclass(kind, dspy.teleprompt.Teleprompter):
            raise RecipeError(
                f"DSPyOptimizer({short_repr(optimizer)}): give an optimizer of DSPy, such as "
                "dspy.MIPROv2(metric=…), or its class"
            )
        if kind.__name__ in _OTHER_RESULTS:
            raise RecipeError(
                f"DSPyOptimizer({kind.__name__}): what it learns is not a state of a program: use "
                "lmpipe's own KNNFewShot, Ensemble, BootstrapFinetune or BetterTogether"
            )
        if settings and not isinstance(optimizer, type):
            raise RecipeError(
                f"DSPyOptimizer({kind.__name__}(…), {', '.join(settings)}=…): give these to the "
                "optimizer itself"
            )
        self._check_arguments(kind.__init__, settings, kind.__name__)
        self._check_arguments(kind.compile, self.compile_options, f"{kind.__name__}.compile")

    def _check_arguments(
        self, function: Callable[..., Any], given: Mapping[str, Any], what: str
    ) -> None:
        """Check names before anything is spent."""
        parameters = inspect.signature(function).parameters
        if any(item.kind is item.VAR_KEYWORD for item in parameters.values()):
            return
        if unknown := sorted(given.keys() - parameters.keys()):
            known = ", ".join(list(parameters)[1:])
            raise RecipeError(
                f"DSPyOptimizer({self._class.__name__}): {what} has no argument "
                f"{', '.join(unknown)}; it has {known}"
            )

    @property
    def _class(self) -> Any:
        return self.optimizer if isinstance(self.optimizer, type) else type(self.optimizer)

    @property
    def name(self) -> str:
        """The name of the optimizer, such as `dspy.MIPROv2`."""
        return f"dspy.{self._class.__name__}"

    async def optimize(self, task: Task) -> ProgramState:
        """Search as DSPy does; score and return what it finds."""
        program = declared_program(task.program)
        if not isinstance(program, DSPyProgram):
            raise RecipeError(
                f"{self.name} compiles DSPy modules, and the program is a "
                f"{type(program).__name__}: give a dspy.Module, or use lmpipe's own optimizer"
            )
        val = _examples(task.val)
        seen = SeenScores(val)
        try:
            student = noted_module(to_dspy(task.start, program.module))
            found = await run_library(partial(self._search, task, student, val, seen))
            state = learned_in(found, program)
        except ArtifactError as error:
            raise RecipeError(f"{self.name}: {error}") from error
        except BudgetExhaustedError:
            if seen.best is not None:
                state = learned_in(seen.best, program)
                await task.evaluate(state, name=f"{self.name}, best so far")
            raise
        await task.evaluate(state, name=self.name)
        return state

    def _search(
        self,
        task: Task,
        student: dspy.Module,
        val: Sequence[dspy.Example],
        seen: SeenScores,
        steps: StepRunner,
    ) -> Any:
        """Run the optimizer, in a thread of its own."""
        with scope(lm=task.lms.student, role="task", trace=None, sample=0, evaluating=True):
            run = SearchRun(task, steps)
        optimizer = self._ready(task, run)
        for name in _METRICS:
            if callable(getattr(optimizer, name, None)):
                vars(optimizer)[name] = seen.noting(getattr(optimizer, name))
        for _, predictor in student.named_predictors():
            if predictor.lm is not None:
                predictor.lm = run.bridge(predictor.lm)
        data: dict[str, Any] = {"trainset": _examples(task.train), **self.compile_options}
        if _takes(optimizer.compile, "valset"):
            data.setdefault("valset", val)
        kept = random.getstate()
        random.seed(task.rng(self.name).getrandbits(64))  # DSPy draws some from the global stream
        try:
            with run.configured(), printing_to_stderr(run):
                return optimizer.compile(student, **data)
        finally:
            random.setstate(kept)

    def _ready(self, task: Task, run: SearchRun) -> Any:
        """Return a copy of the optimizer whose LMs ask lmpipe's runtime."""
        made = self._made(task, run) if isinstance(self.optimizer, type) else self.optimizer
        ready = copy.copy(made)
        for name, value in vars(made).items():
            if isinstance(value, dspy.BaseLM):
                vars(ready)[name] = run.bridge_of(name, value)
            elif isinstance(value, dict) and isinstance(value.get("lm"), dspy.BaseLM):
                vars(ready)[name] = {**value, "lm": run.bridge_of(name, value["lm"])}
        return ready

    def _made(self, task: Task, run: SearchRun) -> Any:
        """Make the optimizer of a class, with the recipe's metric and LMs."""
        given: dict[str, Any] = dict(self.settings_of_class)
        metric: Any = task.metric
        function = metric.called if isinstance(metric, DSPyMetric) else metric
        if _takes(self.optimizer, "metric"):
            given.setdefault("metric", function)
        for name in (*_OF_PROGRAM, *_OF_PROPOSER):
            if _takes(self.optimizer, name):
                given.setdefault(name, run.bridge_of(name, None))
        try:
            return self.optimizer(**given)
        except (TypeError, ValueError, AssertionError) as error:  # as DSPy refuses settings
            raise RecipeError(f"{self.name} cannot be made: {error}") from error

    def cost(self, sizes: Sizes) -> Cost:
        """The validation of the result; what the search takes is not known."""
        return Cost(sizes.val, open_ended=True)

    def settings(self) -> dict[str, Any]:
        """The optimizer's settings, as far as they can be told apart."""
        own = self.settings_of_class if isinstance(self.optimizer, type) else vars(self.optimizer)
        given = {**own, **{f"compile {name}": v for name, v in self.compile_options.items()}}
        described = {name: _identity(value) for name, value in sorted(given.items())}
        shown: dict[str, Any] = without_secrets(described)
        return shown


class SearchRun(DSPyRun):
    """The LM calls of one search of a DSPy optimizer, each of which the budget admits."""

    def __init__(self, task: Task, steps: StepRunner) -> None:
        super().__init__(AskedLMs())
        self._task, self._steps = task, steps

    def bridge_of(self, name: str, lm: dspy.BaseLM | None) -> Any:
        """Return what the optimizer asks as its LM of this name."""
        if isinstance(lm, BridgeLM):
            return lm
        recipes = lm is None or lm is dspy.settings.lm
        if name in _OF_PROGRAM:
            return self.bridge(None if recipes else lm)
        own = self._task.lms.proposer if recipes else lm_from_dspy(lm)
        return BridgeLM(self, own, {} if lm is None else lm.kwargs, "proposer")

    def complete(self, request: Request, label: str, role: str, reader: Any = None) -> Reply:
        return self._steps(self._task.call(request, role=role, label=label))

    async def acomplete(self, request: Request, label: str, role: str, reader: Any = None) -> Reply:
        return await self._task.call(request, role=role, label=label)


def _examples(rows: Sequence[Example]) -> list[dspy.Example]:
    return [example_to_dspy(row) for row in rows]


def _takes(function: Callable[..., Any], name: str) -> bool:
    return name in inspect.signature(function).parameters


def _identity(value: Any) -> Any:
    """Describe a setting of an optimizer by JSON that changes when it does."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, dspy.BaseLM):
        return lm_from_dspy(value).identity()
    if isinstance(value, Mapping):
        return {str(name): _identity(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_identity(item) for item in value]
    return code_fingerprint(value) if callable(value) else type(value).__qualname__
