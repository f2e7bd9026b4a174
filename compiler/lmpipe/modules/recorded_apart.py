"""Runs of programs inside of one run, each recorded apart from the others.

Which steps and calls are recorded, and in which order, may not depend on which run was quicker. So
each run records for itself, and the run around takes over what it wants in a fixed order.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmpipe.lm.scope import Scope, scope
from lmpipe.state.trace import Trace

if TYPE_CHECKING:
    from lmpipe.lm.call import Call


@dataclass(frozen=True, slots=True, eq=False)
class Apart:
    """The records of one run inside of another; None where the other one keeps none either."""

    trace: Trace | None
    calls: list[Call] | None

    @staticmethod
    def inside(around: Scope, *, traced: bool = False) -> Apart:
        """Make empty records for a run inside of a scope; `traced` keeps a trace in any case."""
        return Apart(
            Trace() if traced or around.trace is not None else None,
            None if around.calls is None else [],
        )

    def scope(self, **changes: Any) -> scope:
        """Record the calls of a `with` block here; `changes` are other fields of the scope."""
        return scope(trace=self.trace, calls=self.calls, **changes)


def take_over(around: Scope, made: Sequence[Apart], kept: Collection[Apart] | None = None) -> None:
    """Add the calls of runs to the records around them, and the steps of those that are kept.

    Args:
        around: the scope of the run around.
        made: all runs, in the order in which their records are added.
        kept: those whose steps are added; None means all of them.
    """
    for apart in made:
        if around.calls is not None and apart.calls is not None:
            around.calls.extend(apart.calls)
        if around.trace is not None and apart.trace is not None and (kept is None or apart in kept):
            around.trace.extend(apart.trace)
