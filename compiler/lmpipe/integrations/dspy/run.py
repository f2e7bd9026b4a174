"""One run of a DSPy program on lmpipe: its LM, its uses of predictors, and what becomes of them."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import dspy

from lmpipe.integrations.dspy.lms import AskedLMs, lm_from_dspy
from lmpipe.integrations.dspy.signatures import as_json
from lmpipe.lm.observing import listening
from lmpipe.lm.request import Reply, Request
from lmpipe.lm.scope import Scope, current_scope
from lmpipe.modules.observed import observed_use
from lmpipe.modules.row_errors import is_about_row
from lmpipe.settings import current_settings
from lmpipe.state.trace import Step

if TYPE_CHECKING:
    from lmpipe.integrations.dspy.bridge import BridgeLM
    from lmpipe.integrations.dspy.learned import LearnedPredictor
    from lmpipe.integrations.dspy.streaming import DSPyFieldReader

T = TypeVar("T")

# The setting of DSPy that holds the run. DSPy's threads know its settings, but not the context of
# other packages.
_SETTING = "lmpipe_run"


class DSPyRun:
    """One run of a program.

    Args:
        asked: the LMs of earlier runs, with the settings of their calls.

    Attributes:
        scope: of the run.
        failure: the error of an LM call that is not about the run's row, even if the program has
            caught it.
    """

    def __init__(self, asked: AskedLMs) -> None:
        self.scope: Scope = current_scope()
        self.asked = asked
        self.failure: Exception | None = None
        self._context = contextvars.copy_context()
        self._bridges: dict[int, tuple[Any, BridgeLM]] = {}

    def bridge(self, lm: Any = None) -> Any:
        """Return what predictors ask in place of an LM of DSPy; None is the run's LM."""
        from lmpipe.integrations.dspy.bridge import BridgeLM  # which makes calls in this run

        if isinstance(lm, BridgeLM) or (lm is not None and not isinstance(lm, dspy.BaseLM)):
            return lm
        found = self._bridges.get(id(lm))
        if found is None:
            own = None if lm is None else lm_from_dspy(lm)
            made = BridgeLM(self, own, {} if lm is None else lm.kwargs)
            found = self._bridges[id(lm)] = lm, made  # the LM too, so that no other gets its id
        return found[1]

    def configured(self, **others: Any) -> AbstractContextManager[None]:
        """Configure DSPy for the run in a block: its LM, an empty trace, and other settings."""
        settings = {"lm": self.bridge(), "trace": [], _SETTING: self, **others}
        block: AbstractContextManager[None] = dspy.context(**settings)
        return block

    def complete(
        self, request: Request, label: str, role: str, reader: DSPyFieldReader | None = None
    ) -> Reply:
        """Make an LM call for the predictor at a path; the scope says on whose account it is.

        `reader` receives the reply while it arrives.
        """
        on_retry = None if reader is None else reader.on_retry
        return current_settings().runtime.complete(
            request, label=label, on_text=reader, on_retry=on_retry
        )

    async def acomplete(
        self, request: Request, label: str, role: str, reader: DSPyFieldReader | None = None
    ) -> Reply:
        """`complete` from a coroutine."""
        on_retry = None if reader is None else reader.on_retry
        return await current_settings().runtime.acomplete(
            request, label=label, on_text=reader, on_retry=on_retry
        )

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function in the context of the run, from any thread."""
        if current_scope() is self.scope:
            return function(*args)
        return self._context.copy().run(function, *args)

    def note(self, error: Exception) -> None:
        """Remember an error if it would stop other runs too: DSPy's modules may catch it."""
        if self.failure is None and not is_about_row(error):
            self.failure = error

    def check(self) -> None:
        """Raise the error that the program may have caught."""
        if self.failure is not None:
            raise self.failure


def current_run() -> DSPyRun | None:
    """Return the run around; None outside of one."""
    run: DSPyRun | None = dspy.settings.get(_SETTING)
    return run


@dataclass(eq=False, slots=True)  # not frozen: one is made for each use
class Use:
    """One use of a predictor, to which the replies of its LM are added."""

    run: DSPyRun
    learned: LearnedPredictor
    inputs: Mapping[str, Any]
    replies: list[Reply] = field(default_factory=list)
    reader: DSPyFieldReader | None = None
    _token: Token[Use | None] | None = None
    _told: Any = None  # the listeners of the call, if there are any

    def __enter__(self) -> Use:
        self._token = _USE.set(self)
        if self.run.scope.listener is not None:
            from lmpipe.integrations.dspy.streaming import reader_of  # few runs are streamed

            self.reader = self.run.call(reader_of, self.learned)
        if listening and self.learned.path:
            self._told = observed_use(self.learned, self.inputs, self.run.scope.sample)
            self._told.__enter__()
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        assert self._token is not None
        _USE.reset(self._token)
        if self._told is not None:
            self._told.__exit__(kind, error, traceback)
        if error is not None and self.replies:
            self._record({}, _first_line(error))

    def ends(self, prediction: Any) -> None:
        """Record what the predictor gave."""
        if self._told is not None:
            self._told.ends(results=(prediction,))
        if self.run.scope.trace is not None or self.reader is not None:
            names = self.learned.spec.output_names
            outputs = {name: as_json(prediction[name]) for name in names if name in prediction}
            self._record(outputs, "")
            if self.reader is not None and self.replies:
                self.reader.finish(prediction, outputs, self.replies)

    def _record(self, outputs: dict[str, Any], error: str) -> None:
        trace, replies = self.run.scope.trace, self.replies
        if trace is None or not replies or not self.learned.path:
            return
        trace.steps.append(
            Step(
                predictor=self.learned.path,
                inputs=self.learned.shown(self.inputs),
                outputs=outputs,
                replies=tuple([reply.text for reply in replies]),
                usage=sum([reply.usage for reply in replies[1:]], replies[0].usage),
                seconds=sum([reply.seconds for reply in replies if not reply.cached]),
                cached=all(reply.cached for reply in replies),
                error=error,
            )
        )


_USE: ContextVar[Use | None] = ContextVar("lmpipe_dspy_use", default=None)
current_use = _USE.get


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
