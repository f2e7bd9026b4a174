"""The scope of a predictor call: where its step is recorded, and what the run overrides."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextvars import ContextVar, Token
from dataclasses import dataclass, field, fields
from itertools import count
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmpipe.lm.call import Call
    from lmpipe.lm.lm import LM
    from lmpipe.state.trace import Trace


@dataclass(frozen=True, slots=True)
class Partial:
    """An output while it is written: what a stream of a program tells.

    Args:
        predictor: the path of the predictor that writes it.
        call: the number of this call in the run, from 0; a predictor may be called often.
        attempt: the number of the try, from 0; a reply that could not be read is written anew.
        field: the output's name.
        text: all of it that has come so far, as the LM spells it.
        delta: what of it has come since the last time.
        value: the output as its own type once it is done; before that the text so far for a
            text, as much as there is for a list or an object, and None for all else.
        done: whether it is complete and valid.
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
    """Who is told of outputs while they are written.

    Args:
        tell: told each piece, from any thread.
        calls: numbers the calls of the run.
    """

    tell: Callable[[Partial], None]
    calls: Iterator[int] = field(default_factory=count)


@dataclass(frozen=True, slots=True)
class Scope:
    """What surrounds a predictor call: where its step goes and what the run overrides.

    Args:
        trace: where steps are recorded, if anywhere.
        lm: the LM of this run, in place of the configured one.
        sample: the number of this sample of the whole run.
        decoding: decoding settings of this run, such as a teacher's temperature.
        role: `task`, `teacher`, `proposer` or `judge`, for the accounts.
        calls: where LM calls are accounted, if anywhere.
        max_calls: LM calls that this run may make, or None.
        listener: who is told of outputs while they are written, if anyone.
        started: counts the LM calls of this run as they start; the last field, see `scope`.
    """

    trace: Trace | None = None
    lm: LM | None = None
    sample: int = 0
    decoding: tuple[tuple[str, Any], ...] = ()
    role: str = "task"
    calls: list[Call] | None = None
    max_calls: int | None = None
    listener: Listener | None = None
    started: Iterator[int] = field(default_factory=count)


_SCOPE: ContextVar[Scope] = ContextVar("lmpipe_scope", default=Scope())  # noqa: B039 - frozen


_CHANGEABLE = tuple(item.name for item in fields(Scope) if item.name != "started")


def current_scope() -> Scope:
    """The scope of the running predictor call."""
    return _SCOPE.get()


class scope:  # noqa: N801 - used like a function
    """Change the scope for the calls made inside a `with` block.

    A class, and no copy by `dataclasses.replace`: this runs twice for each row of an evaluation.

    Args:
        changes: fields of `Scope`.
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
