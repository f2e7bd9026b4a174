"""`Plan`: what a compile will do at most, phase by phase."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lmpipe.lm.spend import Spend
from lmpipe.metrics import AnyMetric, metric_calls
from lmpipe.modules.module import Module
from lmpipe.optimize.engine.optimizer import Optimizer, Sizes
from lmpipe.optimize.engine.roles import LMRoles
from lmpipe.optimize.engine.worst_case import (
    embedding_everywhere,
    worst_ask,
    worst_pool,
    worst_run,
)
from lmpipe.state.program_state import ProgramState


@dataclass(frozen=True)
class Phase:
    """A phase of a compile: its maximum number of program runs and its maximum spend."""

    label: str
    runs: int
    worst: Spend


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a compile will do at most.

    Args:
        baselines: score the program as declared on validation.
        search: run the optimizer.
        result: score the optimizer's result on validation.
        test: compare the baselines and the result on test.
        train_check: score the result on training examples; None if the recipe turns it off.
        calls_per_run: the maximum number of LM calls of one program run, retries included.
        judge_calls: the maximum number of LM calls of the metric for one row.
        asks: the maximum number of proposer calls.
    """

    baselines: Phase
    search: Phase
    result: Phase
    test: Phase
    train_check: Phase | None
    calls_per_run: int
    judge_calls: int
    asks: int

    @property
    def phases(self) -> tuple[Phase, ...]:
        """All phases, in their order."""
        check = (self.train_check,) if self.train_check else ()
        return (self.baselines, self.search, self.result, self.test, *check)

    @property
    def total(self) -> Spend:
        """The maximum spend of all phases."""
        return sum((phase.worst for phase in self.phases), Spend())


def baselines(declared: ProgramState) -> Mapping[str, ProgramState]:
    """Return the program as declared and, if that differs, with constrained outputs, by name.

    Every compile scores these states before it searches.
    """
    found = {"as declared": declared}
    constrained = declared.map(constrained=True)
    if constrained != declared:
        found["constrained"] = constrained
    return found


def make_plan(
    program: Module,
    *,
    teacher_program: Module | None,
    metric: AnyMetric,
    optimizer: Optimizer,
    lms: LMRoles,
    sizes: Sizes,
    test: int,
    train_check: int,
) -> Plan:
    """Plan a compile.

    `test` and `train_check` are the numbers of examples that the result is scored on.
    """
    cost = optimizer.cost(sizes)
    base, per_result = len(baselines(program.state())), cost.per_result
    if lms.embedder is not None and cost.pools:
        program = embedding_everywhere(program, lms.embedder)
    judge_and_embedder = (metric, lms.judge, lms.embedder)
    run = worst_run(program, [lms.student], *judge_and_embedder)
    # Only the search uses the teacher: its price must not make the test look expensive.
    search_run = worst_run(program, [lms.student, lms.teacher], *judge_and_embedder)
    if teacher_program is not None:
        rollout = worst_run(teacher_program, [lms.teacher], *judge_and_embedder)
        search_run = search_run.maximum(rollout)
    search = search_run * cost.runs + worst_ask(lms.proposer) * cost.asks
    if lms.embedder is not None:
        search += worst_pool(sizes.train * sizes.predictors, lms.embedder) * cost.pools

    def phase(label: str, runs: int) -> Phase:
        return Phase(label, runs, run * runs)

    return Plan(
        baselines=phase("baselines on validation", base * sizes.val),
        search=Phase(f"{optimizer.name} on train and validation", cost.runs, search),
        result=phase("the result on validation", per_result * sizes.val),
        test=phase("baselines and result on test", (base + per_result) * test),
        train_check=phase("the result on train", per_result * train_check) if train_check else None,
        calls_per_run=program.calls_per_run(),
        judge_calls=metric_calls(metric),
        asks=cost.asks,
    )
