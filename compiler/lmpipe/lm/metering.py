"""What a block of code used: the charges of its LM calls, in whichever thread or task they ran.

Meters are nested by context, so that a call counts in every block around it and in no other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import Any, TypeAlias

from lmpipe.lm.spend import Account, Charge, Spend

# What receives the charges of a block, and the meter of the block around it. A plain tuple,
# because every run of a program makes one.
Meter: TypeAlias = "tuple[Callable[[Charge], object], Meter | None]"

_METER: ContextVar[Meter | None] = ContextVar("lmpipe_meter", default=None)

current_meter, set_meter, reset_meter = _METER.get, _METER.set, _METER.reset


class metering:  # noqa: N801 - used like a function
    """Collect the charges of the LM calls of a `with` block in a list.

    This is a class because that is faster than a generator. `Runnable.__call__` does the same in
    its own code.
    """

    __slots__ = ("_token",)

    _token: Token[Meter | None]

    def __enter__(self) -> list[Charge]:
        charges: list[Charge] = []
        self._token = _METER.set((charges.append, _METER.get()))
        return charges

    def __exit__(self, *error: object) -> None:
        _METER.reset(self._token)


class TrackedUsage(Account):
    """The LM calls of a block so far; see `track_usage`. Any thread may read it at any time."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        super().__init__()

    def charge(self, charges: Iterable[Charge]) -> None:
        with self._lock:
            super().charge(charges)

    @property
    def total(self) -> Spend:
        """The total of all calls."""
        with self._lock:
            return super().total

    def to_json(self) -> dict[str, Any]:
        with self._lock:  # so that its tables agree
            return super().to_json()

    def _add_to(self, account: Account) -> None:
        with self._lock:
            super()._add_to(account)

    def _by(self, group: Callable[[str, str, str], str]) -> dict[str, Spend]:
        with self._lock:
            return super()._by(group)


@contextmanager
def track_usage() -> Iterator[TrackedUsage]:
    """Count the LM calls of a `with` block: by LM, role and predictor, with tokens and dollars.

    It counts what the code of the block calls, directly or in programs, batches, evaluations and
    compiles, and nothing that other threads and tasks call at the same time. Blocks may be nested;
    a call counts in each. Tasks that the block starts count too, and so do threads that run in a
    copy of its context (`contextvars.copy_context().run`), as those of `asyncio.to_thread` do.

    Yields:
        The usage, which grows while the block runs: `usage.total`, `usage.by_lm["<model>"]`,
        `usage.by_predictor["<path>"]`, `usage.by_role`; `print(usage)` shows a line for each LM.
    """
    tracked = TrackedUsage()
    token = _METER.set((lambda charge: tracked.charge((charge,)), _METER.get()))
    try:
        yield tracked
    finally:
        _METER.reset(token)
