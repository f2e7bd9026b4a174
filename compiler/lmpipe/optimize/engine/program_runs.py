"""`ProgramRunner`: runs programs on examples within the budget, and reports progress."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from lmpipe.data.example import Example
from lmpipe.evaluation.evaluate import RunOptions, run_pairs
from lmpipe.evaluation.results import Evaluation
from lmpipe.lm.lm import LM
from lmpipe.metrics import AnyMetric, BoundMetric, bind_metric, metric_calls
from lmpipe.modules.module import Module
from lmpipe.optimize.engine.budget import Ledger, RunAdmission
from lmpipe.optimize.engine.progress import ProgressReporter
from lmpipe.optimize.engine.roles import LMRoles
from lmpipe.optimize.engine.worst_case import worst_run_of_any

# If this many runs or more all fail in the same way, nothing works and the compile stops.
_TELLING_RUNS = 8


@dataclass(frozen=True, kw_only=True)
class ProgramRunner:
    """Runs programs on examples within the budget, and reports progress."""

    metric: AnyMetric
    lms: LMRoles
    ledger: Ledger
    progress: ProgressReporter
    concurrency: int

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
        lm = lm or (self.lms.teacher if role == "teacher" else self.lms.student)
        programs = {id(program): program for program, _ in pairs}.values()
        limit = max((item.calls_per_run() for item in programs), default=0)
        judge = self.lms.judge
        worst = worst_run_of_any(programs, [lm], self.metric, judge, self.lms.embedder)
        enough = _TELLING_RUNS if all_rows is None else min(_TELLING_RUNS, all_rows)
        options = RunOptions(
            concurrency=self.concurrency,
            scope={"lm": lm, "role": role, "sample": sample, "max_calls": limit},
            admission=RunAdmission(self.ledger, worst),
            on_row=self.progress.start_step(step, len(pairs)),
            judge=judge,
            judge_calls=metric_calls(self.metric),
            may_all_fail=len(pairs) < enough,
        )
        return await self.ledger.within_time(run_pairs(pairs, self._bound_metric, options))

    @cached_property
    def _bound_metric(self) -> BoundMetric:
        """The metric, bound once: what is learned about its speed holds for the whole compile."""
        return bind_metric(self.metric)
