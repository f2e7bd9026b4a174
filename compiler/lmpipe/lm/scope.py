"""The scope of predictor calls: where they are recorded, and which settings the run overrides."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar, Token
from dataclasses import dataclass, field, fields
from itertools import count
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmpipe.data.identity import ExampleIdentity
    from lmpipe.lm.call import Call
    from lmpipe.lm.lm import LM
    from lmpipe.state.trace import Trace


@dataclass(frozen=True, slots=True)
class Partial:
    """An output that is being written; the stream of a program yields such pieces.

    Args:
        predictor: the path of the predictor.
        call: the number of this call in the run, from 0; a predictor may be called repeatedly.
        attempt: the number of the attempt, from 0; after an invalid reply there is another one.
        field: the output's name.
        text: the text received so far, as the LM wrote it.
        delta: the text received since the last piece.
        value: the output in its type once it is done. Before, the text so far for text, the
            items so far for a list or an object, and None for other types.
        done: whether the output is complete and valid.
    """

    predictor: str
    call: int
    attempt: int
    field: str
    text: str
    delta: str
    value: Any
    done: bool = False


@dataclass(frozen=True, slots=True)
class Listener:
    """Receives outputs while they are written, from any thread; numbers the calls of the run.

    `paths` has the paths of the program's predictors by their `id`; a program that is not bound
    to a state does not name its predictors itself.
    """

    notify: Callable[[Partial], None]
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
    started: Iterator[int] = field(default_factory=count)  # counts LM calls; last, see `scope`


_SCOPE: ContextVar[Scope] = ContextVar("lmpipe_scope", default=Scope())  # noqa: B039 - frozen
_CHANGEABLE = tuple(item.name for item in fields(Scope) if item.name != "started")


def current_scope() -> Scope:
    """Return the scope of the current call."""
    return _SCOPE.get()


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
