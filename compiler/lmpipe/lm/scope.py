"""The scope of predictor calls: where they are recorded, and which settings the run overrides."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar, Token
from dataclasses import dataclass, field, fields
from itertools import count
from typing import TYPE_CHECKING, Any

from lmpipe.errors import CallLimitError

if TYPE_CHECKING:
    from lmpipe.data.identity import ExampleIdentity
    from lmpipe.lm.call import Call
    from lmpipe.lm.lm import LM
    from lmpipe.lm.stream_events import StreamEvent
    from lmpipe.state.answers import Pass
    from lmpipe.state.trace import Trace


@dataclass(frozen=True, slots=True)
class Listener:
    """Receives what a stream tells, from any thread; numbers the calls of the run.

    `paths` has the paths of the program's predictors by their `id`; a program that is not bound
    to a state does not name its predictors itself.
    """

    notify: Callable[[StreamEvent], None]
    paths: Mapping[int, str] = field(default_factory=dict)
    calls: Iterator[int] = field(default_factory=count)


@dataclass(frozen=True, slots=True)
class Scope:
    """The context of a predictor call."""

    trace: Trace | None = None  # records the step
    lm: LM | None = None  # of this run, instead of the configured one
    sample: int = 0  # the number of this sample of the whole run
    decoding: tuple[tuple[str, Any], ...] = ()  # settings, such as a teacher's temperature
    role: str = "task"  # or `teacher`, `proposer`, `judge`, for the accounts
    calls: list[Call] | None = None  # the list to which LM calls are added
    max_calls: int | None = None  # in this run
    listener: Listener | None = None
    example: ExampleIdentity | None = None  # that the program runs on; its answer is never shown
    answers: Pass | None = None  # that this run has so far, if its program has checks
    evaluating: bool = False  # in a compile or an evaluation, where no tool has effects
    started: Iterator[int] = field(default_factory=count)  # counts LM calls; last, see `scope`


_SCOPE: ContextVar[Scope] = ContextVar("lmpipe_scope", default=Scope())  # noqa: B039 - frozen
_CHANGEABLE = tuple(item.name for item in fields(Scope) if item.name != "started")


# Returns the scope of the current call; not a function of its own, which every call would pay for.
current_scope: Callable[[], Scope] = _SCOPE.get


class scope:  # noqa: N801 - used like a function
    """Change fields of the scope inside a `with` block.

    This runs twice per row of an evaluation, so it is a class and avoids `dataclasses.replace`,
    which is slower.
    """

    __slots__ = ("_changes", "_token")

    _token: Token[Scope]

    def __init__(self, **changes: Any) -> None:
        self._changes = changes

    def __enter__(self) -> Scope:
        now, changes = _SCOPE.get(), self._changes
        values: list[Any] = [
            changes[name] if name in changes else getattr(now, name) for name in _CHANGEABLE
        ]
        values.append(count() if "max_calls" in changes else now.started)
        entered = Scope(*values)
        self._token = _SCOPE.set(entered)
        return entered

    def __exit__(self, *error: object) -> None:
        _SCOPE.reset(self._token)


def check_calls(scope: Scope, who: str, remedy: str = "") -> None:
    """Count a call, and raise a CallLimitError if the run may make no more.

    `who` makes the call: the path of a predictor, or an LM. `remedy` says where the maximum is
    given, if it is not on a class of lmpipe.
    """
    # Counted as they start, because calls may be in flight together.
    if scope.max_calls is not None and next(scope.started) >= scope.max_calls:
        by_metric = scope.role == "judge"
        what = "the metric, on one row," if by_metric else "one run of the program"
        where = "metric, by @lmpipe.metrics.judge" if by_metric else "program's class"
        raise CallLimitError(
            f"{who}: {what} made more than {scope.max_calls} LM calls, the maximum that the plan "
            f"and the budget rely on: {remedy or f'set `max_calls = …` on the {where}'}"
        )
