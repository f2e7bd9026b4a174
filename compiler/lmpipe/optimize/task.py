"""`Task`: the engine, and all that an optimizer sees of it.

Budget, concurrency, seeds, progress, recording and error policy live here once, so that an
optimizer is no longer than its pseudocode.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from lmpipe.errors import BudgetExhaustedError
from lmpipe.evaluation import DEFAULT_CONCURRENCY, RunOptions, run_examples
from lmpipe.example import Example
from lmpipe.lm.lm import LM
from lmpipe.metrics import AnyMetric, metric_calls
from lmpipe.optimize.budget import Ledger, RunAdmission
from lmpipe.optimize.events import Candidate, Progress, Rollout, Watcher
from lmpipe.outcome import Evaluation, Row
from lmpipe.program import Module
from lmpipe.settings import configured_lm
from lmpipe.spend import Spend
from lmpipe.state import ProgramState

# So many rollouts must fail in the same way before nothing at all is taken to work.
_ENOUGH = 8


class Optimizer(Protocol):
    """A way to search for a better state."""

    @property
    def name(self) -> str:
        """What the command line calls it."""
        ...

    async def optimize(self, task: Task) -> ProgramState:
        """Search; whatever was scored on the way stays a candidate if this is cut short."""
        ...

    def cost(self, sizes: Sizes) -> int:
        """The most runs of the program that `optimize` makes."""
        ...

    def settings(self) -> dict[str, Any]:
        """What it was made with, as JSON."""
        ...


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many examples an optimizer has to work with."""

    train: int
    val: int


class Task:
    """What an optimizer works on.

    Args:
        program: the program as declared; it never changes.
        train: examples to learn from.
        val: examples on which candidates are compared.
        metric: how good a prediction is.
        student: the LM that the compiled program will run on.
        teacher: the LM of rollouts.
        seed: all randomness comes from it.
        ledger: the budget's account.
        watcher: who is told.
        judge: the LM of a metric that asks one; the configured one if not given.
        concurrency: examples in flight at a time.
    """

    def __init__(
        self,
        *,
        program: Module,
        train: Sequence[Example],
        val: Sequence[Example],
        metric: AnyMetric,
        student: LM,
        teacher: LM,
        seed: int,
        ledger: Ledger,
        watcher: Watcher,
        judge: LM | None = None,
        concurrency: int = DEFAULT_CONCURRENCY,
    ) -> None:
        self.program = program
        self.train = tuple(train)
        self.val = tuple(val)
        self.student = student
        self.teacher = teacher
        self.best: Candidate | None = None
        self.candidates: list[Candidate] = []
        self.phase = ""
        self._metric = metric
        self._judge = judge
        self._seed = seed
        self._ledger = ledger
        self._watcher = watcher
        self._concurrency = concurrency
        self._scored: dict[str, Candidate] = {}
        # One step at a time: the order in which runs are admitted decides where a budget ends.
        self._turn = asyncio.Lock()

    def rng(self, name: str) -> random.Random:
        """A random stream of the run's seed; the same name gives the same stream."""
        material = hashlib.sha256(f"{self._seed}:{name}".encode()).digest()
        return random.Random(int.from_bytes(material[:8]))

    async def evaluate(self, state: ProgramState, *, name: str) -> Evaluation:
        """Score a state on the validation examples; it is a candidate from then on.

        A state that was scored before is not run again.

        Raises:
            BudgetExhaustedError: if the budget ends first; the state is no candidate then.
        """
        async with self._turn:
            if known := self._scored.get(state.hash):
                return known.evaluation
            evaluation = await self._run(name, self.program.bind(state), self.val, role="task")
            self._add(Candidate(len(self.candidates), name, state, evaluation))
        return evaluation

    def _add(self, candidate: Candidate) -> None:
        self._scored[candidate.state.hash] = candidate
        self.candidates.append(candidate)
        better = self.best is None or candidate.score > self.best.score
        if better:
            self.best = candidate
        self._watcher.candidate(candidate, best=better)
        for row in candidate.evaluation.rows:
            self._watcher.row(f"candidate {candidate.number}", row)

    async def rollouts(
        self,
        state: ProgramState,
        examples: Sequence[Example],
        *,
        sample: int = 0,
        threshold: float = 1.0,
    ) -> list[Rollout]:
        """Run the teacher on training examples, one numbered sample of each.

        Args:
            state: what the teacher runs with.
            examples: the examples to run.
            sample: the number of the sample; from 1 on, greedy LMs are warmed up.
            threshold: the score from which a rollout passes.

        Raises:
            BudgetExhaustedError: if the budget ends first.
        """
        program = self.program.bind(state)
        async with self._turn:
            evaluation = await self._run(
                f"rollouts {sample}",
                program,
                examples,
                role="teacher",
                sample=sample,
                few=len(examples) < min(_ENOUGH, len(self.train)),
            )
        rollouts = [
            Rollout(row, sample, row.failure is None and row.score.value >= threshold)
            for row in evaluation.rows
        ]
        for rollout in rollouts:
            self._watcher.rollout(rollout)
        return rollouts

    async def test(
        self, name: str, state: ProgramState, examples: Sequence[Example], *, first: int = 0
    ) -> Evaluation:
        """Score a state on examples that no optimizer sees.

        Args:
            name: what is tested.
            state: what to test.
            examples: the examples.
            first: the place of the first of them in the whole test set.
        """
        few = len(examples) < _ENOUGH
        program = self.program.bind(state)
        async with self._turn:
            evaluation = await self._run(name, program, examples, role="task", few=few)
        rows = tuple(replace(row, index=row.index + first) for row in evaluation.rows)
        for row in rows:
            self._watcher.row(f"test {name}", row)
        return Evaluation(rows, evaluation.seconds)

    def note(self, kind: str, **data: Any) -> None:
        """Leave a note in the run's events."""
        self._watcher.note(kind, data)

    async def _run(
        self,
        step: str,
        program: Module,
        examples: Sequence[Example],
        *,
        role: str,
        sample: int = 0,
        few: bool = False,
    ) -> Evaluation:
        lm = self.teacher if role == "teacher" else self.student
        limit = program.calls_per_run()
        scope = {"lm": lm, "role": role, "sample": sample, "max_calls": limit}
        options = RunOptions(
            concurrency=self._concurrency,
            scope=scope,
            admission=RunAdmission(
                self._ledger, worst_run(program, [lm], self._metric, self._judge)
            ),
            on_row=self._teller(step, len(examples)),
            judge=self._judge,
            judge_calls=metric_calls(self._metric),
            few=few,
        )
        return await self._in_time(run_examples(program, examples, self._metric, options))

    async def _in_time(self, running: Any) -> Evaluation:
        try:
            async with asyncio.timeout(self._ledger.seconds_left()):
                result: Evaluation = await running
                return result
        except TimeoutError:
            raise BudgetExhaustedError(
                f"the budget ({self._ledger.budget}) is used up: time is over"
            ) from None

    def _teller(self, step: str, of: int) -> Callable[[Row | None], None]:
        done = -1

        def tell(row: Row | None) -> None:
            nonlocal done
            done += 1
            best = self.best
            self._watcher.progress(
                Progress(
                    phase=self.phase,
                    step=step,
                    done=done,
                    of=of,
                    best=best.score if best else None,
                    best_name=best.name if best else "",
                    spend=self._ledger.total,
                )
            )

        tell(None)
        return tell


def worst_run(program: Module, lms: Sequence[LM], metric: AnyMetric, judge: LM | None) -> Spend:
    """What one run of a program and the judging of it cost at most.

    Args:
        program: the program.
        lms: the LMs that the run may be given.
        metric: the metric, which may ask an LM as often as its `max_calls` says.
        judge: the LM of the metric.
    """
    worst = Spend.worst_case(program.calls_per_run(), [*lms, *own_lms(program).values()])
    return worst + Spend.worst_case(metric_calls(metric), judges(metric, judge))


def judges(metric: AnyMetric, judge: LM | None) -> list[LM]:
    """The LMs that a metric asks, as far as they are known; none if it makes no calls."""
    if not metric_calls(metric):
        return []
    own = own_lms(metric) if isinstance(metric, Module) else {}
    return [judge or configured_lm(), *own.values()]


def own_lms(program: Module) -> dict[str, LM]:
    """The LMs of predictors that bring their own, by path."""
    own = {path: getattr(item, "lm", None) for path, item in program.predictors().items()}
    return {path: lm for path, lm in own.items() if isinstance(lm, LM)}


def baselines(state: ProgramState) -> Mapping[str, ProgramState]:
    """The program as declared and with constrained outputs: always among the candidates."""
    found = {"as declared": state}
    constrained = state.map(constrained=True)
    if constrained != state:
        found["constrained"] = constrained
    return found
