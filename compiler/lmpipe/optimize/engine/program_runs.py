"""`ProgramRunner`: runs programs on examples within the budget, and reports progress."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from lmpipe.data.example import Example
from lmpipe.errors import RecipeError
from lmpipe.evaluation.evaluate import RunOptions, run_pairs
from lmpipe.evaluation.results import Evaluation, Row
from lmpipe.evaluation.use_watch import UseWatch
from lmpipe.lm.lm import LM, as_lm
from lmpipe.metrics import AnyMetric, BoundMetric, bind_metric, metric_calls
from lmpipe.modules.module import Module
from lmpipe.optimize.engine.budget import Ledger, RunAdmission
from lmpipe.optimize.engine.progress import ProgressReporter
from lmpipe.optimize.engine.roles import LMRoles
from lmpipe.optimize.engine.worst_case import worst_run_of_any

# If this many runs or more all fail in the same way, nothing works and the compile stops.
TELLING_RUNS = 8

# The kind of the note on a program that makes more LM calls than plans count.
REPEATED_USE = "repeated use"


@dataclass(frozen=True, kw_only=True)
class ProgramRunner:
    """Runs programs on examples within the budget, and reports progress."""

    metric: AnyMetric
    lms: LMRoles
    ledger: Ledger
    progress: ProgressReporter
    note: Callable[..., None]
    concurrency: int
    _told: list[str] = field(default_factory=list, init=False)

    async def run(
        self,
        step: str,
        pairs: Sequence[tuple[Module, Example]],
        *,
        role: str = "task",
        sample: int = 0,
        lm: LM | None = None,
        all_rows: int | None = None,
    ) -> Evaluation:
        """Run each program on its example; the rows are in the pairs' order.

        Args:
            role: `task` or `teacher`: whose LM runs the programs.
            sample: the sample number; from 1 on, greedy LMs sample with a temperature.
            lm: an LM in place of the role's.
            all_rows: the number of examples there are of this kind, if `pairs` may be so few for
                lack of more: then all of them failing is telling too.
        """
        lm = as_lm(lm) or (self.lms.teacher if role == "teacher" else self.lms.student)
        programs = {id(program): program for program, _ in pairs}.values()
        # Without a limit on spend, nothing relies on the maximum of a run.
        most = max((item.calls_per_run() for item in programs), default=0)
        limit = most if self._limited else None
        report, watches = self.progress.start_step(step, len(pairs)), self._watches(programs)

        def row_ended(row: Row) -> None:
            watches[id(pairs[row.index][0])].see(row)
            report(row)

        judge = self.lms.judge
        worst = worst_run_of_any(programs, [lm], self.metric, judge, self.lms.embedder)
        enough = TELLING_RUNS if all_rows is None else min(TELLING_RUNS, all_rows)
        options = RunOptions(
            concurrency=self.concurrency,
            scope={"lm": lm, "role": role, "sample": sample, "max_calls": limit},
            admission=RunAdmission(self.ledger, worst),
            on_row=row_ended,
            judge=judge,
            judge_calls=metric_calls(self.metric),
            may_all_fail=len(pairs) < enough,
        )
        return await self.ledger.within_time(run_pairs(pairs, self._bound_metric, options))

    @cached_property
    def _bound_metric(self) -> BoundMetric:
        """The metric, bound once: what is learned about its speed holds for the whole compile."""
        return bind_metric(self.metric)

    @property
    def _limited(self) -> bool:
        """Whether the budget relies on the maximum of LM calls of each run."""
        return self.ledger.budget.limits_spend

    def _watches(self, programs: Iterable[Module]) -> dict[int, UseWatch]:
        def tell(message: str) -> None:
            if self._limited:
                raise RecipeError(message)
            if not self._told:
                self._told.append(message)
                self.note(REPEATED_USE, message=message)

        return {id(program): UseWatch(program, tell) for program in programs}
