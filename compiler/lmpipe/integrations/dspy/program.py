"""`from_dspy`: a DSPy module as a program of lmpipe."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from types import FunctionType
from typing import Any, cast

import dspy

from lmpipe.errors import CallError, ConfigError, OutputError
from lmpipe.foundation.checks import check_number
from lmpipe.foundation.source_code import source_of
from lmpipe.integrations.dspy.adapters import remembering, with_lms
from lmpipe.integrations.dspy.calls import REMEDY, count_calls_of
from lmpipe.integrations.dspy.copying import ProgramCopier, modules_inside, predictors_inside
from lmpipe.integrations.dspy.lms import AskedLMs
from lmpipe.integrations.dspy.metrics import dspy_metric
from lmpipe.integrations.dspy.predictor import DSPyPredictor
from lmpipe.integrations.dspy.run import DSPyRun
from lmpipe.lm.concurrency import loop
from lmpipe.modules.module import Module, Predictor
from lmpipe.modules.uses import Uses
from lmpipe.state.program_state import ProgramState


def from_dspy(module: dspy.Module, *, max_calls: int | None = None) -> DSPyProgram:
    """Make a program of a DSPy module, for `evaluate`, `compile` and all optimizers.

    The module stays as it is, also while the program is compiled. Its own `forward` runs, on a
    copy for each run; DSPy's adapters write the prompts and read the replies, and lmpipe's runtime
    makes the LM calls, so that they are cached, counted, limited and recorded like those of other
    programs. The LM is that of the evaluation or the recipe, or lmpipe's configured one, unless a
    predictor has its own; DSPy's configured LM is not asked.

    `program(…)` runs `forward`; `acall`, `batch`, `evaluate` and `compile` run `aforward` where
    the module's class has one. Predictors have the names of DSPy's `named_predictors`.

    Args:
        module: any DSPy module.
        max_calls: the maximum number of LM calls of one run, for a module that uses a predictor in
            a loop whose length depends on the data. A budget relies on it.

    Raises:
        ConfigError: if it is not a DSPy module, or has no predictors, or a predictor's LM is not
            known to lmpipe, or `max_calls` is not a whole number from 0.
    """
    if isinstance(module, type) and issubclass(module, dspy.Module):
        raise ConfigError(
            f"from_dspy({module.__name__}): give an instance, from_dspy({module.__name__}(…))"
        )
    if not isinstance(module, dspy.Module):
        raise ConfigError(f"from_dspy({module!r:.100}): give a dspy.Module")
    check_number("from_dspy", "max_calls", max_calls, minimum=0, integer=True, optional=True)
    kind: Any = type(module)
    return _program_class(kind)(module, max_calls=max_calls)


class DSPyProgram(Module):
    """A DSPy module that lmpipe runs; see `from_dspy`.

    Attributes:
        module: the user's module.
        parts: its predictors, by their names.

    Raises:
        ConfigError: if the module has no predictors.
    """

    def __init__(self, module: dspy.Module, *, max_calls: int | None = None) -> None:
        self.module = module
        named = {id(predictor): path for path, predictor in module.named_predictors()}
        found = {id(predictor): predictor for predictor in predictors_inside(module)}
        self.parts = {path: DSPyPredictor(found[key], path) for key, path in named.items()}
        if not self.parts:
            raise ConfigError(
                f"{type(module).__name__} has no predictors: DSPy finds those that are attributes "
                "of a module, and items of its lists and dicts"
            )
        # Those that DSPy does not name, as in parts that are kept as they were compiled.
        self._others = tuple(
            DSPyPredictor(predictor, "") for key, predictor in found.items() if key not in named
        )
        self._given_max_calls = max_calls
        self._asked = AskedLMs()
        counted = count_calls_of(module, self._calls_of_predictors())
        if max_calls is not None or counted is not None:
            self.max_calls = counted if max_calls is None else max_calls

    def _calls_of_predictors(self) -> dict[int, int]:
        return {id(item.declared): item.calls_per_use for item in self._every()}

    def _every(self) -> tuple[DSPyPredictor, ...]:
        return *self.parts.values(), *self._others

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.module, self._given_max_calls, self.state())

    def predictors(self) -> dict[str, Predictor]:
        return dict(self.parts)

    def _with_states(
        self, predictors: Mapping[str, Predictor], state: ProgramState, prefix: str = ""
    ) -> Any:
        bound: Any = super()._with_states(predictors, state, prefix)
        vars(bound).pop("_copier", None)
        return bound

    def _uses(self) -> Uses:
        # Without a limit, a loop of unknown length uses them.
        return {} if self.max_calls is not None else {"parts": float("inf")}

    @property
    def declared_source(self) -> str | None:
        """The source of the module's classes, of those that are not DSPy's own."""
        kinds = dict.fromkeys(type(part) for part in modules_inside(self.module))
        sources = [
            source_of(kind) or kind.__qualname__
            for kind in kinds
            if kind.__module__.partition(".")[0] != dspy.__name__
        ]
        return "\n\n".join([*sources, f"dspy {dspy.__version__}"])

    @property
    def max_calls_remedy(self) -> str:
        """How the maximum of LM calls of one run is given, for messages."""
        return REMEDY

    def metric_for(self, metric: Any) -> Any:
        """Return the metric as one that is written for DSPy, unless it is lmpipe's own."""
        kind = metric if isinstance(metric, FunctionType) else type(metric)
        ours = isinstance(metric, Module) or kind.__module__.partition(".")[0] == "lmpipe"
        if ours or not callable(metric):
            return metric
        return dspy_metric(cast("Callable[..., Any]", metric))

    def input_parameters(self) -> inspect.Signature:
        """What a call takes: the parameters of `forward`, or the inputs of the signature."""
        return _input_parameters(self.module)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the module's `forward`.

        Raises:
            CallError: if an input of a module that is declared by a signature is missing or
                unknown.
            OutputError: if no reply could be read as the outputs.
            LMError: if the LM cannot be reached or refuses the request.
        """
        if not _has(self.module, "forward"):
            return loop.run_sync(self._aforward(args, kwargs))
        self._check(args, kwargs)
        with self._running() as run:
            return _traced(run, self._new_copy(run)(*args, **kwargs))

    async def _aforward(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._check(args, kwargs)
        with self._running() as run:
            return _traced(run, await self._new_copy(run).acall(*args, **kwargs))

    @contextmanager
    def _running(self) -> Iterator[DSPyRun]:
        """Configure DSPy for a run in a block, whose errors are raised as what they mean."""
        run = DSPyRun(self._asked)
        try:
            with run.configured(adapter=with_lms(self._adapter_now(), run.bridge)):
                yield run
        except Exception as error:
            meant = _meant(run, error)
            if meant is error:
                raise
            raise meant from error

    def _adapter_now(self) -> Any:
        """Return a copy of DSPy's configured adapter that remembers; see `remembering`."""
        configured, known = dspy.settings.adapter, vars(self).get("_adapter")
        if known is None or known[0] is not configured:
            known = vars(self)["_adapter"] = configured, remembering(configured)
        return known[1]

    def _new_copy(self, run: DSPyRun) -> dspy.Module:
        copier: ProgramCopier | None = vars(self).get("_copier")
        if copier is None:
            learned = {id(item.declared): item.learned() for item in self._every()}
            copier = vars(self)["_copier"] = ProgramCopier(self.module, learned)
        return copier.copy(run.bridge)

    def _check(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Check the inputs of a module of DSPy's own, which only warns about wrong ones."""
        expected = _declared_inputs(self.module)
        if expected is None or args:
            return
        required, known = expected
        missing, unknown = required - kwargs.keys(), kwargs.keys() - known
        if missing or unknown:
            problems = [f"missing {name!r}" for name in sorted(missing)]
            problems += [f"unknown {name!r}" for name in sorted(unknown)]
            raise CallError(
                f"{type(self.module).__name__}: {'; '.join(problems)}\n"
                f"  its inputs: {', '.join(sorted(known - _OPTIONS))}"
            )


class AsyncDSPyProgram(DSPyProgram):
    """A DSPy module whose class has `aforward`, which coroutines run."""

    async def _run_forward(self, *args: Any, **kwargs: Any) -> Any:
        return await self._aforward(args, kwargs)


# What DSPy's own modules take beside their inputs.
_OPTIONS = frozenset({"signature", "demos", "config", "lm", "max_iters", "prediction"})


def _declared_inputs(module: dspy.Module) -> tuple[frozenset[str], frozenset[str]] | None:
    """The inputs of a module of DSPy's own that is declared by a signature: required, and known."""
    signature = _declared_signature(module)
    if signature is None:
        return None
    fields = signature.input_fields
    required = frozenset(
        name
        for name, field in fields.items()
        if field.is_required() and not _allows_none(field.annotation)
    )
    return required, frozenset(fields) | _OPTIONS


def _declared_signature(module: dspy.Module) -> type[dspy.Signature] | None:
    if isinstance(module, dspy.Predict):
        found = module.signature
    elif isinstance(module, dspy.ChainOfThought):
        found = module.predict.signature
    elif type(module).__module__.partition(".")[0] == dspy.__name__:
        found = getattr(module, "signature", None)
    else:
        return None
    kind: type[dspy.Signature] | None = found if isinstance(found, type) else None
    return kind


def _allows_none(annotation: Any) -> bool:
    return annotation is None or type(None) in getattr(annotation, "__args__", ())


def _input_parameters(module: dspy.Module) -> inspect.Signature:
    expected = _declared_inputs(module)
    if expected is None:
        # From the class: DSPy warns of every look at the method of a module.
        name = "forward" if _has(module, "forward") else "aforward"
        full = inspect.signature(getattr(type(module), name))
        return full.replace(parameters=list(full.parameters.values())[1:])
    required, known = expected
    return inspect.Signature(
        [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if name in required else None,
            )
            for name in sorted(known, key=lambda name: name not in required)
            if name not in _OPTIONS
        ]
    )


def _has(module: dspy.Module, method: str) -> bool:
    return getattr(type(module), method, None) is not None


def _traced(run: DSPyRun, result: Any) -> Any:
    """Raise what the program may have caught; keep what DSPy's metrics want to know of the run."""
    run.check()
    if isinstance(result, dspy.Prediction):
        vars(result)["_lmpipe_trace"] = run.scope.role, list(dspy.settings.trace)
    return result


def _meant(run: DSPyRun, error: Exception) -> Exception:
    """Return the error that an error of the program's code means."""
    if run.failure is not None:
        return run.failure
    if isinstance(error, dspy.AdapterParseError):
        return OutputError(str(error).strip(), raw=str(error.lm_response))
    return error


def _restored(module: dspy.Module, max_calls: int | None, state: ProgramState) -> Module:
    return from_dspy(module, max_calls=max_calls).bind(state)


@lru_cache(maxsize=256)
def _program_class(kind: Any) -> type[DSPyProgram]:
    """Make the class of programs of a module's class, which has its name."""
    namespace = {
        "__module__": DSPyProgram.__module__,
        "__qualname__": kind.__qualname__,
        "__doc__": kind.__doc__,
    }
    base = DSPyProgram if getattr(kind, "aforward", None) is None else AsyncDSPyProgram
    made: type[DSPyProgram] = type(kind.__name__, (base,), namespace)
    made._kinds_of_checks = 0  # DSPy's code need not be read: it has no checks of lmpipe
    return made
