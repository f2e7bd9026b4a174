"""`EventWatcher`: passes what a compile tells its watchers on to listeners."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmpipe.lm.events import CandidateScored, CompileNoted
from lmpipe.lm.observing import AnyObserved
from lmpipe.optimize.engine.events import Candidate, WatcherBase


class EventWatcher(WatcherBase):
    """Tells candidates and notes as events of a compile; its rows have events of their own."""

    def __init__(self, call: AnyObserved) -> None:
        self._call = call

    def candidate(self, candidate: Candidate, *, best: bool) -> None:
        self._call.tell(CandidateScored, candidate=candidate, best=best)

    def note(self, kind: str, data: Mapping[str, Any]) -> None:
        self._call.tell(CompileNoted, note=kind, data=data)
