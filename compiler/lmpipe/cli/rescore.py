"""Score two programs again: from the cache, and by the calls that were agreed to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lmpipe.cli.targets import OpenTarget
from lmpipe.compiling.final_test import blocks_that_fit
from lmpipe.data.example import Example
from lmpipe.errors import BudgetExhaustedError
from lmpipe.evaluation.evaluate import RunOptions, run_pairs
from lmpipe.evaluation.from_cache import rows_from_cache
from lmpipe.evaluation.results import Row
from lmpipe.foundation.plural import plural
from lmpipe.lm.concurrency.loop import blocking
from lmpipe.lm.spend import Spend
from lmpipe.metrics import AnyMetric
from lmpipe.modules.declared import declared_program
from lmpipe.optimize.engine.budget import Budget, Ledger, RunAdmission
from lmpipe.optimize.engine.worst_case import worst_run
from lmpipe.report.records import TestRow
from lmpipe.settings import configured_lm, current_settings, using


@dataclass(frozen=True)
class Scoring:
    """How programs are scored again.

    Args:
        metric: scores both programs.
        budget: what may be spent; None allows no call, and so leaves only what is in the cache.
        concurrency: how many examples run at the same time.
    """

    metric: AnyMetric
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

    Raises:
        MetricError: if the metric returns an invalid score.
        LMError: if an LM is unavailable.
    """
    ledger = Ledger(scoring.budget) if scoring.budget is not None else None
    return [await _rescore(target, examples, scoring, ledger) for target in targets]


# The same for callers without a running event loop.
rescore = blocking(
    arescore, interrupted="the comparison was stopped; replies that arrived are in the cache"
)


async def _rescore(
    target: OpenTarget, examples: Sequence[Example], scoring: Scoring, ledger: Ledger | None
) -> Rescored:
    recipe = target.recipe
    program = target.program.bind(target.program.state())
    metric = declared_program(target.program).metric_for(scoring.metric)
    judge = recipe.judge or configured_lm()
    options = RunOptions(concurrency=scoring.concurrency, judge=judge, may_all_fail=True)
    worst = worst_run(program, [target.student], metric, recipe.judge, recipe.embedder)
    with using(
        lm=target.student,
        runtime=current_settings().runtime,
        embedder=recipe.embedder,
    ):
        rows = dict(await rows_from_cache(program, examples, metric, options))
        missing = [index for index in range(len(examples)) if index not in rows]
        if missing and ledger is not None:
            for block in _blocks(missing, worst, ledger):
                admission = RunAdmission(ledger, worst)
                found = await run_pairs(
                    ((program, examples[index]) for index in block),
                    metric,
                    RunOptions(
                        concurrency=scoring.concurrency,
                        judge=judge,
                        admission=admission,
                        may_all_fail=True,
                    ),
                )
                rows |= dict(zip(block, found.rows, strict=True))
    left = len(examples) - len(rows)
    return Rescored({i: _plain(rows[i]) for i in sorted(rows)}, left * worst.calls)


def _blocks(missing: Sequence[int], worst: Spend, ledger: Ledger) -> Sequence[Sequence[int]]:
    """Return the positions that the budget has room for, all in one block, or none."""
    try:
        return [next(iter(blocks_that_fit(missing, worst, ledger, len(missing))))[1]]
    except BudgetExhaustedError:
        return []


def _plain(row: Row) -> TestRow:
    return TestRow.model_validate(row.to_json())


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
