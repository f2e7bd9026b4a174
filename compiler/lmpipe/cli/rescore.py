"""Score two programs again: from the cache, and by the calls that were agreed to."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace

from lmpipe.cli.targets import OpenTarget
from lmpipe.data.example import Example
from lmpipe.errors import BudgetExhaustedError
from lmpipe.evaluation.evaluate import RunOptions, run_pairs
from lmpipe.evaluation.from_cache import rows_from_cache
from lmpipe.evaluation.results import Row
from lmpipe.foundation.plural import plural
from lmpipe.lm.concurrency.loop import blocking
from lmpipe.lm.lm import LM
from lmpipe.lm.spend import Spend
from lmpipe.metrics import AnyMetric
from lmpipe.modules.declared import declared_program
from lmpipe.modules.module import Module
from lmpipe.optimize.engine.budget import Budget, Ledger, RunAdmission
from lmpipe.optimize.engine.worst_case import worst_run
from lmpipe.report.records import TestRow
from lmpipe.settings import Settings, configured_lm, current_settings, using


@dataclass(frozen=True)
class Scoring:
    """How programs are scored again.

    Args:
        metric: scores both programs, and `judge` makes its LM calls; None is the configured LM.
        budget: what may be spent; None allows no call, and so leaves only what is in the cache.
        concurrency: how many examples run at the same time.
    """

    metric: AnyMetric
    judge: LM | None
    budget: Budget | None
    concurrency: int


@dataclass(frozen=True)
class Rescored:
    """The rows of a program that could be scored, by position of their example.

    Args:
        calls: the maximum number of LM calls that the other examples would need.
    """

    rows: Mapping[int, TestRow]
    calls: int


async def arescore(
    targets: Sequence[OpenTarget], examples: Sequence[Example], scoring: Scoring
) -> list[Rescored]:
    """Score programs on the same examples; what they spend counts to one budget.

    If it is too small for all, every program runs on the same first examples.

    Raises:
        MetricError: if the metric returns an invalid score.
        LMError: if an LM is unavailable.
    """
    programs = [_Program.of(target, scoring) for target in targets]
    for program in programs:
        await program.take_from_cache(examples)
    if scoring.budget is not None:
        with contextlib.suppress(BudgetExhaustedError):  # of time; what ended by then counts
            await _run_missing(programs, examples, Ledger(scoring.budget))
    return [program.rescored(len(examples)) for program in programs]


# The same for callers without a running event loop.
rescore = blocking(
    arescore, interrupted="the comparison was stopped; replies that arrived are in the cache"
)


async def _run_missing(
    programs: Sequence[_Program], examples: Sequence[Example], ledger: Ledger
) -> None:
    """Run the programs where the cache lacks something, on as many examples as the budget allows.

    Runs usually cost less than their worst case, so after a block the budget may allow more.
    """
    worst = sum((program.worst for program in programs), Spend())
    while True:
        wanted = [i for i in range(len(examples)) if any(i not in p.rows for p in programs)]
        block = wanted[: ledger.room(worst)]
        if not block:
            return
        for program in programs:
            await program.run(examples, [i for i in block if i not in program.rows], ledger)


@dataclass
class _Program:
    """A program that is scored, and its rows so far by position of their example."""

    target: OpenTarget
    bound: Module
    metric: AnyMetric
    worst: Spend
    options: RunOptions
    rows: dict[int, Row] = field(default_factory=dict)

    @staticmethod
    def of(target: OpenTarget, scoring: Scoring) -> _Program:
        recipe = target.recipe
        metric = declared_program(target.program).metric_for(scoring.metric)
        judge = scoring.judge
        worst = worst_run(target.program, [target.student], metric, judge, recipe.embedder)
        judge = judge or configured_lm()
        options = RunOptions(concurrency=scoring.concurrency, judge=judge, may_all_fail=True)
        bound = target.program.bind(target.program.state())
        return _Program(target, bound, metric, worst, options)

    async def take_from_cache(self, examples: Sequence[Example]) -> None:
        """Score the examples for which the cache has all replies."""
        with self._settings():
            self.rows |= await rows_from_cache(self.bound, examples, self.metric, self.options)

    async def run(
        self, examples: Sequence[Example], positions: Sequence[int], ledger: Ledger
    ) -> None:
        """Score the examples at some positions."""
        options = replace(self.options, admission=RunAdmission(ledger, self.worst))
        pairs = ((self.bound, examples[position]) for position in positions)
        if positions:
            with self._settings():
                found = await run_pairs(pairs, self.metric, options)
            self.rows |= dict(zip(positions, found.rows, strict=True))

    def _settings(self) -> AbstractContextManager[Settings]:
        runtime, embedder = current_settings().runtime, self.target.recipe.embedder
        return using(lm=self.target.student, runtime=runtime, embedder=embedder)

    def rescored(self, examples: int) -> Rescored:
        """Return the rows, and the maximum number of calls that the other examples need."""
        rows = {i: TestRow.of(self.rows[i]) for i in sorted(self.rows)}
        return Rescored(rows, (examples - len(rows)) * self.worst.calls)


def spending_note(names: Sequence[str], found: Sequence[Rescored], examples: int) -> str:
    """Say what is missing and how many calls it would take; empty if nothing is."""
    lacking = [
        f"{name}: {plural(examples - len(item.rows), 'example')}, "
        f"at most {plural(item.calls, 'LM call')}"
        for name, item in zip(names, found, strict=True)
        if len(item.rows) < examples
    ]
    if not lacking:
        return ""
    return (
        f"not in the cache: {'; '.join(lacking)}; --run makes these calls, "
        "--budget calls=N,usd=N as many as it allows"
    )
