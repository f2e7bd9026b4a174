"""`Task`: the engine, and all that an optimizer sees of it.

Budget, concurrency, seeds, progress, recording and error policy live here once, so that an
optimizer is no longer than its pseudocode.
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from lmpipe.data.example import Example
from lmpipe.errors import RecipeError
from lmpipe.evaluation.evaluate import DEFAULT_CONCURRENCY, RunOptions, run_pairs
from lmpipe.evaluation.results import Evaluation, Row
from lmpipe.lm.lm import LM
from lmpipe.metrics import AnyMetric, metric_calls
from lmpipe.modules.module import Module, Predictor
from lmpipe.optimize.engine.budget import Ledger, RunAdmission
from lmpipe.optimize.engine.events import Candidate, Rollout, Watcher
from lmpipe.optimize.engine.pool_embeddings import PoolEmbedder, PoolEmbeddings
from lmpipe.optimize.engine.progress import ProgressReporter
from lmpipe.optimize.engine.proposer import Proposer
from lmpipe.optimize.engine.race import Entry, Pair, Race
from lmpipe.optimize.engine.race_rules import Racing, informative_first
from lmpipe.optimize.engine.roles import LMRoles
from lmpipe.optimize.engine.scoreboard import Scoreboard
from lmpipe.optimize.engine.worst_case import worst_run_of_any
from lmpipe.signatures.signature import Signature
from lmpipe.state.program_state import Demo, ProgramState
from lmpipe.weights.rows import TrainingRow
from lmpipe.weights.settings import TrainingSettings
from lmpipe.weights.trainings import Trainings, Weights

S = TypeVar("S", bound=Signature)

# So many rollouts must fail in the same way before nothing at all is taken to work.
_ENOUGH = 8


class Task:
    """What an optimizer works on.

    Args:
        program: the program as declared; it never changes.
        train: examples to learn from.
        val: examples on which candidates are compared.
        metric: how good a prediction is.
        lms: who is asked, by role.
        seed: all randomness comes from it.
        ledger: the budget's account.
        watcher: who is told.
        teacher_program: a program of the same predictors that makes the rollouts, as it is; the
            program with the state that an optimizer gives its teacher if None.
        racing: when candidates are dropped; None scores all of them on everything.
        trainings: trains weights; None if nothing in this task does.
        concurrency: examples in flight at a time.
    """

    def __init__(
        self,
        *,
        program: Module,
        train: Sequence[Example],
        val: Sequence[Example],
        metric: AnyMetric,
        lms: LMRoles,
        seed: int,
        ledger: Ledger,
        watcher: Watcher,
        teacher_program: Module | None = None,
        racing: Racing | None = None,
        trainings: Trainings | None = None,
        concurrency: int = DEFAULT_CONCURRENCY,
    ) -> None:
        self.program = program
        self.predictors: Mapping[str, Predictor] = program.predictors()
        self.start = program.state()
        self.train = tuple(train)
        self.val = tuple(val)
        self._metric = metric
        self._lms = lms
        self._seed = seed
        self._stage = ""
        self._ledger = ledger
        self._watcher = watcher
        self._teacher_program = teacher_program
        self._trainings = trainings
        self._concurrency = concurrency
        self._scoreboard = Scoreboard(len(val), watcher)
        self._progress = ProgressReporter(watcher, self._scoreboard, ledger)
        self._race = Race(self._scoreboard, racing, self._score)
        self._proposer = Proposer(lms.proposer, ledger, self.note, concurrency=concurrency)
        self._embedder = PoolEmbedder(lms.embedder, ledger, concurrency=concurrency)
        self._order = self.rng("order of validation").sample(range(len(val)), len(val))
        # One step at a time: the order in which runs are admitted decides where a budget ends.
        self._turn = asyncio.Lock()

    @property
    def phase(self) -> str:
        """What the compile does now, for those who watch."""
        return self._progress.phase

    @phase.setter
    def phase(self, phase: str) -> None:
        self._progress.phase = phase

    @property
    def best(self) -> Candidate:
        """The best candidate so far; the baselines are scored before an optimizer begins."""
        assert self._scoreboard.best is not None
        return self._scoreboard.best

    @property
    def scored(self) -> bool:
        """Whether there is a best candidate yet."""
        return self._scoreboard.best is not None

    @property
    def candidates(self) -> Sequence[Candidate]:
        """All candidates so far, in the order in which their scores were known."""
        return tuple(self._scoreboard.candidates)

    def starting_from(self, state: ProgramState, *, stage: str = "") -> Task:
        """The same task for an optimizer that goes on from what another one has learned.

        Args:
            state: what was learned.
            stage: sets its random streams apart from those of the other stages.
        """
        task = copy.copy(self)
        task.start, task._stage = state, self._stage + (stage and f"{stage}: ")
        return task

    def rng(self, name: str) -> random.Random:
        """A random stream of the run's seed; the same name gives the same stream."""
        material = hashlib.sha256(f"{self._seed}:{self._stage}{name}".encode()).digest()
        return random.Random(int.from_bytes(material[:8]))

    async def evaluate(self, state: ProgramState, *, name: str) -> Evaluation:
        """Score a state on all validation examples; it is a candidate from then on.

        Rows that are known from a race, or from before, are not run again.

        Raises:
            BudgetExhaustedError: if the budget ends first; the state is no candidate then.
        """
        async with self._turn:
            await self._score([(state, index) for index in self._order], step=name)
            return self._scoreboard.record(name, state).evaluation

    async def peek(self, state: ProgramState, indices: Sequence[int]) -> list[Row]:
        """Run a state on some validation examples; that alone does not make it a candidate.

        Rows that are known are not run again, here or in `evaluate` later.

        Args:
            state: the state.
            indices: places among the validation examples, none of them twice.

        Raises:
            BudgetExhaustedError: if the budget ends first.
        """
        async with self._turn:
            new = [index for index in indices if not self._scoreboard.has(state, index)]
            await self._score([(state, index) for index in new], step="peek")
        for row in self._scoreboard.rows(state, new):
            self._watcher.row("peek", row)
        return self._scoreboard.rows(state, indices)

    async def race(self, entries: Sequence[Entry]) -> list[Candidate]:
        """Score states on the validation examples, as far as they may still be the best.

        They meet the same examples in the same seeded order, block by block, together with the
        best candidate so far. After each block, those that are behind by more than chance are
        dropped. Examples that all states so far got right, or all wrong, come last.

        Args:
            entries: a name of a few words for each state; states that were scored before keep
                the score that they have.

        Returns:
            A candidate for each entry, `complete` or dropped on the way.

        Raises:
            BudgetExhaustedError: if the budget ends first; what leads by then may be the best.
        """
        async with self._turn:
            order = informative_first(self._order, self._scoreboard.known())
            return await self._race.run(entries, order)

    def estimate(self, candidate: Candidate) -> float:
        """A candidate's score on all validation examples, guessed for one that was dropped.

        The best candidate's score, less what it is ahead on the rows that both have: a dropped
        one's own mean is that of the harder examples, which come first.
        """
        if candidate.complete:
            return candidate.score
        ahead = self._scoreboard.lead_over(candidate, self.best)
        return min(1.0, max(0.0, self.best.score + ahead))

    async def rollouts(
        self,
        state: ProgramState,
        examples: Sequence[Example],
        *,
        sample: int = 0,
        threshold: float = 1.0,
        lm: LM | None = None,
    ) -> list[Rollout]:
        """Run the teacher on training examples, one numbered sample of each.

        Args:
            state: what the teacher runs with, where it is this program.
            examples: the examples to run.
            sample: the number of the sample; from 1 on, greedy LMs are warmed up.
            threshold: the score from which a rollout passes.
            lm: the teacher's LM, in place of the recipe's.

        Raises:
            BudgetExhaustedError: if the budget ends first.
        """
        program = self._teacher_program or self.program.bind(state)
        async with self._turn:
            evaluation = await self._run(
                f"rollouts {sample}",
                [(program, example) for example in examples],
                role="teacher",
                sample=sample,
                few=len(examples) < min(_ENOUGH, len(self.train)),
                lm=lm,
            )
        rollouts = [
            Rollout(row, sample, row.failure is None and row.score.value >= threshold)
            for row in evaluation.rows
        ]
        for rollout in rollouts:
            self._watcher.rollout(rollout)
        return rollouts

    async def trial(
        self, states: Sequence[ProgramState], examples: Sequence[Example], *, sample: int = 0
    ) -> list[Evaluation]:
        """Run the student with each of some states on the same training examples.

        Args:
            states: what it runs with.
            examples: the examples.
            sample: the number of the sample; from 1 on, greedy LMs are warmed up.

        Returns:
            An evaluation for each state; its rows are numbered by the examples' order.

        Raises:
            BudgetExhaustedError: if the budget ends first.
        """
        rows = await self.trials([(s, e) for s in states for e in examples], sample=sample)
        size = len(examples)
        parts = [rows[number * size :][:size] for number in range(len(states))]
        return [
            Evaluation(tuple(replace(row, index=index) for index, row in enumerate(part)))
            for part in parts
        ]

    async def trials(
        self, pairs: Sequence[tuple[ProgramState, Example]], *, sample: int = 0
    ) -> list[Row]:
        """Run the student on training examples, with a state for each.

        Returns:
            A row for each pair.

        Raises:
            BudgetExhaustedError: if the budget ends first.
        """
        bound = {state: self.program.bind(state) for state, _ in pairs}
        async with self._turn:
            evaluation = await self._run(
                "trial",
                [(bound[state], example) for state, example in pairs],
                role="task",
                sample=sample,
                few=len(pairs) < _ENOUGH,
            )
        for row in evaluation.rows:
            self._watcher.row("trial", row)
        return list(evaluation.rows)

    async def ask(self, signature: type[S], *, temperature: float = 1.0, **inputs: Any) -> S | None:
        """Ask the proposer one question; see `ask_all`."""
        (answer,) = await self.ask_all(signature, [inputs], temperature=temperature)
        return answer

    async def ask_all(
        self,
        signature: type[S],
        questions: Sequence[Mapping[str, Any]],
        *,
        temperature: float = 1.0,
    ) -> list[S | None]:
        """Ask the proposer, an LM that writes what candidates are made of.

        A question that is asked again, in this call or later, is another sample of it.

        Args:
            signature: what is asked.
            questions: its inputs, once for each question.
            temperature: of the proposer.

        Returns:
            An answer for each question; None for one that could not be read or was refused.

        Raises:
            BudgetExhaustedError: if the budget ends first.
        """
        async with self._turn:
            return await self._ledger.in_time(self._proposer.ask(signature, questions, temperature))

    async def embed(self, pools: Mapping[str, Sequence[Demo]]) -> PoolEmbeddings | None:
        """Have demonstrations embedded, by predictor path; each text is asked for once.

        Returns:
            Their vectors; None if the recipe names no embedder: nearness is by words then.

        Raises:
            BudgetExhaustedError: if the budget ends first.
        """
        async with self._turn:
            return await self._ledger.in_time(self._embedder.embed(self.predictors, pools))

    async def train_weights(
        self, label: str, rows: Sequence[TrainingRow], settings: TrainingSettings
    ) -> Weights:
        """Train weights for the student; see `weights.Trainings`.

        Args:
            label: whose weights they are.
            rows: what to learn.
            settings: how.

        Raises:
            TrainingError: if it cannot be trained.
            BudgetExhaustedError: if time is over first.
        """
        if (trainings := self._trainings) is None:
            raise RecipeError(
                "weights are trained within a compile alone: run the optimizer by lmpipe.compile"
            )
        async with self._turn:
            running = trainings.train(label, rows, settings, self._progress.report_training(label))
            return await self._ledger.in_time(running)

    async def test(
        self, subject: str, state: ProgramState, examples: Sequence[Example], *, first: int = 0
    ) -> Evaluation:
        """Score a state when the search is over.

        Args:
            subject: what the rows are recorded under: `test NAME`, or `train`.
            state: what to test.
            examples: the examples.
            first: the place of the first of them in the whole set.
        """
        program, step = self.program.bind(state), subject.removeprefix("test ")
        pairs = [(program, example) for example in examples]
        async with self._turn:
            evaluation = await self._run(step, pairs, role="task", few=len(examples) < _ENOUGH)
        rows = tuple(replace(row, index=row.index + first) for row in evaluation.rows)
        for row in rows:
            self._watcher.row(subject, row)
        return Evaluation(rows, evaluation.seconds)

    def note(self, kind: str, **data: Any) -> None:
        """Leave a note in the run's events."""
        self._watcher.note(kind, data)

    async def _score(self, pairs: Sequence[Pair], *, step: str = "race") -> None:
        """Run states on validation examples that they were not run on yet."""
        missing = [pair for pair in pairs if not self._scoreboard.has(*pair)]
        if not missing:
            return
        bound = {state: self.program.bind(state) for state, _ in missing}
        evaluation = await self._run(
            step if len(bound) == 1 else f"race of {len(bound)}",
            [(bound[state], self.val[index]) for state, index in missing],
            role="task",
            few=len(missing) < min(_ENOUGH, len(self.val)),
        )
        for (state, index), row in zip(missing, evaluation.rows, strict=True):
            self._scoreboard.add_row(state, replace(row, index=index))

    async def _run(
        self,
        step: str,
        pairs: Sequence[tuple[Module, Example]],
        *,
        role: str,
        sample: int = 0,
        few: bool = False,
        lm: LM | None = None,
    ) -> Evaluation:
        lm = lm or (self._lms.teacher if role == "teacher" else self._lms.student)
        programs = {id(program): program for program, _ in pairs}.values()
        limit = max((item.calls_per_run() for item in programs), default=0)
        scope = {"lm": lm, "role": role, "sample": sample, "max_calls": limit}
        judge = self._lms.judge
        worst = worst_run_of_any(programs, [lm], self._metric, judge, self._lms.embedder)
        options = RunOptions(
            concurrency=self._concurrency,
            scope=scope,
            admission=RunAdmission(self._ledger, worst),
            on_row=self._progress.report_rows(step, len(pairs)),
            judge=judge,
            judge_calls=metric_calls(self._metric),
            few=few,
        )
        return await self._ledger.in_time(run_pairs(pairs, self._metric, options))
