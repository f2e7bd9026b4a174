"""`Plan`: what a compile will do at most, phase by phase."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lmpipe.lm.spend import Spend
from lmpipe.modules.module import Module
from lmpipe.modules.offered import can_constrain
from lmpipe.state.program_state import ProgramState


@dataclass(frozen=True)
class Phase:
    """A phase of a compile: its maximum number of program runs and its maximum spend."""

    label: str
    runs: int
    worst: Spend


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a compile will do at most; the ablation gets what the other phases leave of the budget.

    The maximum numbers of LM calls are those of one program run, retries included, of the metric
    for one row, and of the proposer in all. They are not maximums if the search is `open_ended`.
    """

    baselines: Phase
    search: Phase
    result: Phase
    test: Phase
    train_check: Phase | None
    ablation: Phase | None
    calls_per_run: int
    judge_calls: int
    asks: int
    open_ended: bool

    @property
    def phases(self) -> tuple[Phase, ...]:
        """All phases, in their order."""
        last = (self.train_check, self.ablation)
        return (self.baselines, self.search, self.result, self.test, *filter(None, last))

    @property
    def before_ablation(self) -> Spend:
        """The maximum spend of all phases but the ablation."""
        phases = (phase for phase in self.phases if phase is not self.ablation)
        return sum((phase.worst for phase in phases), Spend())

    @property
    def total(self) -> Spend:
        """The maximum spend of all phases."""
        return sum((phase.worst for phase in self.phases), Spend())


def baselines(program: Module) -> Mapping[str, ProgramState]:
    """Return the program as declared and, if that differs, with constrained outputs, by name.

    Every compile scores these states before it searches.
    """
    declared = program.state()
    found = {"as declared": declared}
    if not can_constrain(program.predictors()):
        return found
    constrained = declared.map(constrained=True)
    if constrained != declared:
        found["constrained"] = constrained
    return found
