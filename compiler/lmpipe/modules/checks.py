"""`check` and `suggest`: conditions in `forward` whose failure sends an answer back to its LM.

A check that fails ends the pass through `forward`. The next pass gets the answers of this one
without asking again, up to the answer that failed: its predictor is asked again, and sees that
answer and the feedback. Source: DSPy Assertions, Singhvi et al. 2023 (arXiv 2312.13382),
section 3.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from lmpipe.errors import CallError, CheckError
from lmpipe.foundation.plural import plural
from lmpipe.foundation.shorten import repr_without_data
from lmpipe.lm.observing import listening, path_here
from lmpipe.lm.scope import current_scope, scope
from lmpipe.modules.binding import Node
from lmpipe.modules.observed import tell_failed_check
from lmpipe.signatures.signature import result_to_json
from lmpipe.state.answers import Answer, Pass
from lmpipe.state.trace import FailedCheck

if TYPE_CHECKING:
    from lmpipe.state.trace import Trace

_DISCARDED = "made in a pass that a failed check ended"


def check(condition: object, feedback: str, *, of: object = None) -> None:
    """Go back to a predictor if a condition is false, and fail if no answer of it passes.

    The predictor is asked again, with its answer and the feedback, and `forward` runs again from
    its beginning; answers that did not change are not asked again. One run of a module does so
    at most `max_backtracks` times for its checks; set it on the class, 2 by default.

    Args:
        condition: whether all is well, such as `len(query) < 100`.
        feedback: what the LM is told, such as "The query must have fewer than 100 characters."
        of: the result that is checked, as its predictor returned it, or the predictor, of which
            the latest answer is meant. By default, the latest answer of the run.

    Raises:
        CheckError: if the condition is false and the run may not go back once more, or there is
            no run to go back in, as outside of a program.
        CallError: if the feedback is not a text, the condition is a function or a coroutine, or
            `of` is not an answer of this run.
    """
    if condition is not True and not _holds(condition, feedback):
        _failed(feedback, of, required=True)


def suggest(condition: object, feedback: str, *, of: object = None) -> bool:
    """Like `check`, but go on with the last answer if none passes, which is counted as `unmet`.

    Suggestions may go back `max_backtracks` times beside those of the checks.

    Args:
        condition: as for `check`.
        feedback: as for `check`.
        of: as for `check`.

    Returns:
        Whether the condition is true.

    Raises:
        CallError: as for `check`.
    """
    if condition is not True and not _holds(condition, feedback):
        _failed(feedback, of, required=False)
        return False
    return True


class Backtrack(BaseException):
    """Ends a pass through `forward`, to ask for another answer in place of one.

    It is no `Exception`, so that no `except Exception` of a program catches it.
    """

    def __init__(self, run: object, answer: Answer, feedback: str, *, required: bool) -> None:
        super().__init__(feedback)
        self.run = run
        self.answer = answer
        self.feedback = feedback
        self.required = required

    def __reduce__(self) -> Any:
        raise TypeError("a check cannot go back to another process")


class CheckedRun:
    """One run of a program with checks: its passes, and how often it may go back.

    Args:
        module: the name of the program's class, for errors.
        limit: how often it may go back for checks, and as often for suggestions.
    """

    def __init__(self, module: str, limit: int) -> None:
        self.module = module
        self.limit = limit
        self._went_back = {True: 0, False: 0}
        self._outer = current_scope().answers
        self._pass = Pass(self, self._outer)

    def may_go_back(self, *, required: bool) -> bool:
        """Whether an answer may be sent back once more."""
        return self._went_back[required] < self.limit

    def run(self, forward: Callable[..., Any], args: Any, kwargs: Mapping[str, Any]) -> Any:
        """Run a sync `forward`, as often as its checks ask for."""
        try:
            while True:
                try:
                    with scope(answers=self._pass):
                        return forward(*args, **kwargs)
                except (Backtrack, BaseExceptionGroup) as error:
                    self._go_back(error)
        finally:
            self._end()

    async def arun(
        self, forward: Callable[..., Awaitable[Any]], args: Any, kwargs: Mapping[str, Any]
    ) -> Any:
        """Run a coroutine function like `run`."""
        try:
            while True:
                try:
                    with scope(answers=self._pass):
                        return await forward(*args, **kwargs)
                except (Backtrack, BaseExceptionGroup) as error:
                    self._go_back(error)
        finally:
            self._end()

    def _go_back(self, error: BaseException) -> None:
        """Prepare the next pass, or raise the error again if it is not about this run's checks."""
        found = _backtracks(error)
        for item in found:
            if item.run is not self:  # it is about an answer of the program around
                raise item
        # Steps that run together may fail together: all of them are sent back by one pass.
        failed = {id(item.answer): item for item in found}
        for required in {item.required for item in failed.values()}:
            self._went_back[required] += 1
        for item in failed.values():
            _note(item.answer, item.feedback, required=item.required, unmet=False)
        feedback = {key: item.feedback for key, item in failed.items()}
        self._pass = Pass(self, self._outer, self._pass.without(feedback))

    def _end(self) -> None:
        """Hand the answers to the program around, and mark those that led nowhere."""
        trace = current_scope().trace
        for answer in self._pass.known:
            if trace is not None and answer.step is not None and not answer.step.error:
                answer.step = trace.change(answer.step, error=_DISCARDED, discarded=True)
        if self._outer is not None:
            for answer in self._pass.answers:
                self._outer.add(answer)


def _holds(condition: object, feedback: object) -> bool:
    """Whether a condition holds, which is not simply True."""
    if not isinstance(feedback, str) or not feedback.strip():
        raise CallError(
            f"check({condition!r:.100}, {feedback!r:.100}): give a condition and what the LM is "
            'told if it is false, as in check(len(query) < 100, "The query is too long.")'
        )
    if callable(condition) or inspect.isawaitable(condition):
        raise CallError(
            f"check({condition!r:.100}, …): give a condition that is true or false, not a "
            "function or a coroutine: call it, and await it if it is async"
        )
    return bool(condition)


def _failed(feedback: str, of: object, *, required: bool) -> None:
    """Go back, or end with what there is."""
    current = current_scope().answers
    if current is None:
        if required:
            raise CheckError(
                f"a check failed: {feedback}\n  It cannot ask again, as there is no run to go back "
                "in: it is outside of a program's `forward`, or in code that the methods of the "
                "program do not name; then set `max_backtracks = 2` on the program's class",
                feedback=feedback,
            )
        return
    found = current.latest(_meant(of))
    if found is None:
        _check_known(of, feedback, required=required)
        return
    owner, answer = found
    run: Any = owner.run
    if run.may_go_back(required=required):
        raise Backtrack(run, answer, feedback, required=required)
    _note(answer, feedback, required=required, unmet=True)
    if required:
        path, times = getattr(answer.asked, "path", ""), plural(run.limit, "time")
        raise CheckError(
            f"{path}: the answer fails a check: {feedback} (one run of {run.module} goes back "
            f"{times} for checks; raise it by `max_backtracks = …` on the class)\n"
            f"  reply: {_text(answer)!r:.500}",
            raw=_text(answer),
            feedback=feedback,
        )


def _meant(of: object) -> Callable[[Answer], bool]:
    """Say which answers `of` means: any, one by its result, or those of a predictor."""
    if of is None:
        return lambda answer: isinstance(answer.asked, Node)  # not the result of a tool
    if isinstance(of, Node):
        program: Any = of
        inside = {id(predictor) for predictor in program.predictors().values()}
        return lambda answer: id(answer.asked) in inside
    return lambda answer: answer.result is of


def _check_known(of: object, feedback: str, *, required: bool) -> None:
    """Raise the error of a failed check that is of no answer of the run."""
    if of is not None:
        raise CallError(
            f"check(…, of={repr_without_data(of, 100)}): no predictor gave this answer in this "
            "run: give the result as its predictor returned it, not one of its fields, or the "
            f"predictor\n  the check: {feedback}"
        )
    if required:
        raise CheckError(
            f"a check failed before any predictor has answered in this run: {feedback}",
            feedback=feedback,
        )


def _backtracks(error: BaseException) -> list[Backtrack]:
    """Return the failed checks of an error or a group; raise its errors of other kinds."""
    if isinstance(error, Backtrack):
        return [error]
    assert isinstance(error, BaseExceptionGroup)
    failed, others = error.split(Backtrack)
    if others is not None:
        raise others
    assert failed is not None
    return [item for nested in failed.exceptions for item in _backtracks(nested)]


def _note(answer: Answer, feedback: str, *, required: bool, unmet: bool) -> None:
    """Tell listeners of a failed check, and record it with the call that gave the answer."""
    if unmet:
        if feedback in answer.given_up:
            return  # a later pass meets it again
        answer.given_up = (*answer.given_up, feedback)
    trace: Trace | None = current_scope().trace
    step = answer.step
    if not listening and (trace is None or step is None):
        return
    outputs = result_to_json(answer.result) if step is None else step.outputs
    attempt = len(answer.earlier) + (len(step.checks) if step is not None else 0) + 1
    failed = FailedCheck(feedback, outputs, required, attempt, unmet)
    if listening:
        tell_failed_check(failed, path_here(answer.asked, getattr(answer.asked, "path", "")))
    if trace is None or step is None:
        return
    used = unmet and not required
    error = step.error if used else f"failed a check: {feedback}"
    answer.step = trace.change(step, checks=(*step.checks, failed), error=error)


def _text(answer: Answer) -> str:
    return getattr(answer.reply, "text", "")
