"""Tell listeners about calls, with the call around each: `observing` for a block of code.

Where a call is made, `if listening:` is all that it costs while nobody listens; then

    with observed(ToolStarted, ToolEnded, tool=…, arguments=…) as call:
        …
        call.ends(text=…)

tells the start, the end or the error, and the calls inside have this call as their parent.
"""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, Self, TypeAlias, TypeVar

from lmpipe.errors import ConfigError
from lmpipe.foundation.shorten import short_repr
from lmpipe.lm.events import AnyEvent, Ended, Event, Started
from lmpipe.lm.metering import Meter, current_meter, reset_meter, set_meter
from lmpipe.lm.spend import Charge

Listener: TypeAlias = Callable[[AnyEvent], object]
L = TypeVar("L", bound=Listener)


class ListenerWarning(UserWarning):
    """A listener raised an exception, which changed no result."""


class _Registered:
    """A listener, and whether it has failed; that is told once."""

    __slots__ = ("_failed", "_receive")

    def __init__(self, receive: Listener) -> None:
        if not callable(receive):
            raise ConfigError(
                f"the listener is {short_repr(receive, 100)}: give a function that takes an event, "
                "such as events.append of a list"
            )
        self._receive = receive
        self._failed = False

    def __call__(self, event: Event) -> None:
        try:
            self._receive(event)  # type: ignore[arg-type]  # every event is in the union
        except Exception as error:  # noqa: BLE001 - no listener may change a result
            if not self._failed:
                self._failed = True
                warnings.warn(
                    f"the listener {short_repr(self._receive, 100)} raised "
                    f"{type(error).__name__}: {error} at the event {type(event).__name__}; the "
                    "call goes on, and later errors of this listener are not shown",
                    ListenerWarning,
                    stacklevel=2,
                )


@dataclass(frozen=True, slots=True)
class _Place:
    """Who listens here, and the call around."""

    listeners: tuple[_Registered, ...] = ()
    id: int | None = None
    root: int | None = None
    predictor: str = ""
    # The paths of the predictors of the outermost program, by their `id`.
    paths: Mapping[int, str] = field(default_factory=dict)
    parent: int | None = None  # of the call around
    silent: bool = False  # while a listener is called: what it calls is not told


# All listeners of this process, also those of blocks in other threads. As long as there are none,
# nothing is told, and a call only asks whether this is empty.
listening: list[_Registered] = []

_configured: tuple[_Registered, ...] = ()
_added: tuple[_Registered, ...] = ()
_everywhere: tuple[_Registered, ...] = ()  # both
_lock = threading.Lock()
_numbers = count(1)
_HERE: ContextVar[_Place] = ContextVar("lmpipe_place", default=_Place())  # noqa: B039 - frozen
_SILENT = _Place(silent=True)


@contextmanager
def observing(listener: L) -> Iterator[L]:
    """Tell a listener what happens inside a `with` block.

    It is told about the calls of programs, predictors, layouts, LMs, tools, sandboxes and
    retrievers, and about evaluations, compiles and their rows, when they start and end; the events
    are in `lmpipe.lm.events`. Tasks that the block starts count too, and so do threads that run in
    a copy of its context. Blocks may be nested: all their listeners are told.

    Args:
        listener: called with each event, in the thread where it happens, and so perhaps in several
            at once. It should be quick: the call waits for it. What it raises becomes a
            `ListenerWarning`, once. Calls that it makes are not told.

    Yields:
        The listener.

    Raises:
        ConfigError: if the listener is not callable.
    """
    registered, here = _Registered(listener), _HERE.get()
    token = _HERE.set(replace(here, listeners=(*here.listeners, registered)))
    with _lock:
        listening.append(registered)
    try:
        yield listener
    finally:
        with _lock:
            listening.remove(registered)
        _HERE.reset(token)


def listen_everywhere(listeners: Sequence[Listener]) -> None:
    """Tell these listeners about all calls of the process from now on, in place of earlier ones.

    Raises:
        ConfigError: if one is not callable.
    """
    registered = tuple(map(_Registered, listeners))
    with _lock:
        _listen(registered, _added)


def listen_always(listener: Listener) -> Callable[[], None]:
    """Tell a listener about all calls of the process, beside those of `configure`.

    Returns:
        A function that ends it.
    """
    registered = _Registered(listener)
    with _lock:
        _listen(_configured, (*_added, registered))

    def end() -> None:
        with _lock:
            _listen(_configured, tuple(one for one in _added if one is not registered))

    return end


def _listen(configured: tuple[_Registered, ...], added: tuple[_Registered, ...]) -> None:
    """Set who listens to the whole process; the lock is held."""
    global _configured, _added, _everywhere
    for one in _everywhere:
        listening.remove(one)
    _configured, _added, _everywhere = configured, added, (*configured, *added)
    listening.extend(_everywhere)


class Observed:
    """A call that is told: a context manager, around the call."""

    __slots__ = (
        *("_charges", "_ended", "_fields", "_inside", "_listeners", "_meter", "_place", "_since"),
        "_started",
    )

    _meter: Token[Meter | None]
    _place: Token[_Place]

    def __init__(
        self,
        here: _Place,
        listeners: tuple[_Registered, ...],
        start: Started,
        ended: type[Ended],
        since: float,
    ) -> None:
        self._listeners = listeners
        self._started = start
        self._ended = ended
        self._fields: dict[str, Any] = {}
        self._charges: list[Charge] = []
        self._since = since
        predictor = getattr(start, "predictor", "") or here.predictor
        # By position, which is faster than `replace`.
        self._inside = _Place(
            here.listeners, start.id, start.root, predictor, here.paths, start.parent
        )

    def __enter__(self) -> Self:
        _tell(self._listeners, self._started)
        self._place = _HERE.set(self._inside)
        self._meter = set_meter((self._charges.append, current_meter()))
        return self

    def ends(self, **fields: Any) -> None:
        """Say what the event of the end holds."""
        self._fields.update(fields)

    def tell(self, kind: type[Event], **fields: Any) -> None:
        """Tell something that happens during the call, from any thread."""
        start = self._started
        event = kind(id=start.id, parent=start.parent, root=start.root, at=time.time(), **fields)
        _tell(self._listeners, event)

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        reset_meter(self._meter)
        _HERE.reset(self._place)
        start = self._started
        event: Any = self._ended
        _tell(
            self._listeners,
            event(
                id=start.id,
                parent=start.parent,
                root=start.root,
                at=time.time(),
                seconds=time.perf_counter() - self._since,
                error=error,
                charges=tuple(self._charges),
                started=start,
                **self._fields,
            ),
        )


class _Unobserved:
    """A call that nobody is told about."""

    __slots__ = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def ends(self, **fields: Any) -> None:
        """Do nothing."""

    def tell(self, kind: type[Event], **fields: Any) -> None:
        """Do nothing."""


_NOBODY = _Unobserved()
AnyObserved: TypeAlias = Observed | _Unobserved


def observed(
    started: type[Started],
    ended: type[Ended],
    *,
    paths: Callable[[], Mapping[int, str]] | None = None,
    since: float | None = None,
    **fields: Any,
) -> AnyObserved:
    """Tell the listeners of this place the start and the end of a call; see this module.

    Args:
        started: the event of the start; `fields` are its fields.
        ended: the event of the end.
        paths: finds the paths of the predictors of a program by their `id`; used for the outermost.
        since: when it started, as `time.perf_counter()` said, if not now.
    """
    here = _HERE.get()
    listeners = () if here.silent else (*here.listeners, *_everywhere)
    if not listeners:
        return _NOBODY
    if paths is not None and not here.paths:
        here = replace(here, paths=paths())
    number = next(_numbers)
    root = number if here.root is None else here.root
    now = time.perf_counter()
    since = now if since is None else since
    at = time.time() - (now - since)
    start = started(id=number, parent=here.id, root=root, at=at, **fields)
    return Observed(here, listeners, start, ended, since)


def tell_here(kind: type[Event], **fields: Any) -> None:
    """Tell something that happens during the call around; nothing, if there is none."""
    here = _HERE.get()
    if here.id is None or here.root is None or here.silent:
        return
    event = kind(id=here.id, parent=here.parent, root=here.root, at=time.time(), **fields)
    _tell((*here.listeners, *_everywhere), event)


def path_here(predictor: object, path: str) -> str:
    """Return the path of a predictor in the outermost program around; `path` if it has none."""
    return _HERE.get().paths.get(id(predictor), path)


@contextmanager
def copies_known(originals: Mapping[int, int]) -> Iterator[None]:
    """Give copies of predictors the paths of the originals in a block; both are given by `id`."""
    here = _HERE.get()
    paths = {copy: here.paths[of] for copy, of in originals.items() if of in here.paths}
    token = _HERE.set(replace(here, paths={**here.paths, **paths}) if paths else here)
    try:
        yield
    finally:
        _HERE.reset(token)


def predictor_here() -> str:
    """Return the path of the predictor around, or an empty text."""
    return _HERE.get().predictor


def _tell(listeners: Sequence[_Registered], event: Event) -> None:
    token = _HERE.set(_SILENT)
    try:
        for listener in listeners:
            listener(event)
    finally:
        _HERE.reset(token)
