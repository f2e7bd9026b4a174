"""`Task`: the engine, and everything that an optimizer sees of it.

Budget, concurrency, seeds, progress, recording and error policy are implemented here once, so that
an optimizer stays as short as its pseudocode.
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, TypeVar

from lmpipe.data.example import Example
from lmpipe.errors import RecipeError
from lmpipe.evaluation.all_raised import check_not_all_raised
from lmpipe.evaluation.evaluate import DEFAULT_CONCURRENCY
from lmpipe.evaluation.results import Evaluation, Row
from lmpipe.foundation.checks import check_number
from lmpipe.lm.call import Call
from lmpipe.lm.lm import LM
from lmpipe.lm.request import Reply, Request
from lmpipe.lm.scope import scope
from lmpipe.lm.spend import Spend
from lmpipe.metrics import AnyMetric
from lmpipe.modules.module import Module, Predictor
from lmpipe.optimize.engine.allowance import Allowance, estimate_allowance
from lmpipe.optimize.engine.budget import Ledger
from lmpipe.optimize.engine.events import Candidate, Rollout, Watcher
from lmpipe.optimize.engine.objectives import Objectives
from lmpipe.optimize.engine.pool_embeddings import PoolEmbedder, PoolVectors
from lmpipe.optimize.engine.program_runs import TELLING_RUNS, ProgramRunner
from lmpipe.optimize.engine.progress import ProgressReporter
from lmpipe.optimize.engine.proposer import Proposals, Proposer
from lmpipe.optimize.engine.race import Entry, Pair, Race
from lmpipe.optimize.engine.race_rules import Knockout, Racing, informative_first
from lmpipe.optimize.engine.roles import LMRoles
from lmpipe.optimize.engine.scoreboard import Scoreboard
from lmpipe.optimize.engine.worst_case import worst_run
from lmpipe.settings import current_settings
from lmpipe.signatures.signature import Signature
from lmpipe.state.program_state import Demo, ProgramState
from lmpipe.weights.rows import RowChoice, TrainingRow
from lmpipe.weights.settings import TrainingSettings
from lmpipe.weights.trainings import Trainings, Weights

S = TypeVar("S", bound=Signature)


class Task:
    """What an optimizer works on.

    Every method that needs LM calls raises `BudgetExhaustedError` if the budget ends first. From
    sample 1 on, greedy LMs sample with a temperature.

    Args:
        program: the program as declared; it never changes.
        train: the examples to learn from.
        val: the examples on which candidates are compared.
        metric: scores a prediction.
        lms: the LM of each role.
        seed: the source of all randomness.
        ledger: the budget's ledger.
        watcher: notified of all that happens.
        teacher_program: a program with the same predictors that makes the rollouts as it is; if
            None, the program itself does, with the state that an optimizer gives its teacher.
        racing: when candidates are dropped; None scores every candidate on every example.
        objectives: what candidates are compared by; None compares their scores.
        trainings: trains weights; None if nothing in this task does.
        concurrency: examples in flight at a time.

    Raises:
        ConfigError: if the seed or the concurrency is out of range.
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
        objectives: Objectives | None = None,
        trainings: Trainings | None = None,
        concurrency: int = DEFAULT_CONCURRENCY,
    ) -> None:
        check_number("Task", "seed", seed, minimum=0, integer=True)
        check_number("Task", "concurrency", concurrency, minimum=1, integer=True)
        self.program = program
        self.predictors: Mapping[str, Predictor] = program.predictors()
        self.start = program.state()
        self.train = tuple(train)
        self.val = tuple(val)
        self._seed = seed
        self._stage = ""
        self._ledger = ledger
        self._watcher = watcher
        self._teacher_program = teacher_program
        self._trainings = trainings
        self._scoreboard = Scoreboard(len(val), watcher, objectives)
        self.progress = ProgressReporter(watcher, self._scoreboard, ledger)
        self._runner = ProgramRunner(
            metric=metric,
            lms=lms,
            ledger=ledger,
            progress=self.progress,
            note=self.note,
            concurrency=concurrency,
        )
        self._race = Race(self._scoreboard, racing, self._score)
        self._new_proposer = partial(
            Proposer, lms.proposer, ledger, self.note, concurrency=concurrency
        )
        self._proposer = self._new_proposer()
        self._embedder = PoolEmbedder(lms.embedder, ledger, concurrency=concurrency)
        self._order = self.rng("order of validation").sample(range(len(val)), len(val))
        # One step at a time: the order in which runs are admitted decides where a budget ends.
        self._turn = asyncio.Lock()

    @property
    def best(self) -> Candidate:
        """The best candidate so far; the baselines are scored before an optimizer starts."""
        assert self._scoreboard.best is not None
        return self._scoreboard.best

    @property
    def scored(self) -> bool:
        """Whether there is a best candidate yet."""
        return self._scoreboard.best is not None

    @property
    def student(self) -> LM:
        """The LM that the program will run on."""
        return self._runner.lms.student

    @property
    def metric(self) -> AnyMetric:
        """What scores predictions."""
        return self._runner.metric

    @property
    def lms(self) -> LMRoles:
        """The LM of each role."""
        return self._runner.lms

    @property
    def candidates(self) -> Sequence[Candidate]:
        """All candidates so far, in the order in which they were scored."""
        return tuple(self._scoreboard.candidates)

    @property
    def spend(self) -> Spend:
        """The spend of all roles so far."""
        return self._ledger.total

    @property
    def proposals(self) -> Proposals:
        """What became of the questions to the proposer so far."""
        return self._proposer.proposals

    @property
    def runs(self) -> int:
        """The runs of programs so far, those of the baselines included."""
        return self._ledger.program_runs

    @property
    def trains(self) -> bool:
        """Whether this task can train weights."""
        return self._trainings is not None

    def allowance(self) -> Allowance:
        """Estimate what is left of the budget, in runs of the program."""
        return estimate_allowance(self._ledger)

    def starting_from(self, state: ProgramState, *, stage: str = "") -> Task:
        """Return this task for an optimizer that continues from what another one learned.

        `stage` separates its random streams from those of other stages.
        """
        task = copy.copy(self)
        task.start, task._stage = state, self._stage + (stage and f"{stage}: ")
        return task

    def with_knockouts(self) -> Task:
        """Return this task with races for first looks, unless every candidate is to be scored."""
        task = copy.copy(self)
        if self._race.rules is not None:
            task._race = replace(self._race, rules=Knockout(risk=self._race.rules.risk))
        return task

    def with_proposer_on_trial(self) -> Task:
        """Return this task with questions that do not count among the compile's `proposals`."""
        task = copy.copy(self)
        task._proposer = self._new_proposer()
        return task

    def rng(self, name: str) -> random.Random:
        """Return the random stream of this name; the seed and the name determine its draws."""
        material = hashlib.sha256(f"{self._seed}:{self._stage}{name}".encode()).digest()
        return random.Random(int.from_bytes(material[:8]))

    async def evaluate(self, state: ProgramState, *, name: str) -> Evaluation:
        """Score a state on all validation examples, which makes it a candidate.

        Rows that are known are not run again.

        Raises:
            BudgetExhaustedError: if the budget ends first; the state is then not a candidate.
        """
        async with self._turn:
            await self._score([(state, index) for index in self._order], step=name)
            return self._scoreboard.record(name, state).evaluation

    async def peek(self, pairs: Sequence[Pair], *, subject: str = "peek") -> list[Row]:
        """Run states on some validation examples without making them candidates.

        Rows that are known are not run again, neither here nor by a later `evaluate`.

        Args:
            pairs: states, each with the position of a validation example.
            subject: the name under which new rows are recorded.
        """
        async with self._turn:
            new = [pair for pair in pairs if not self._scoreboard.has(*pair)]
            await self._score(new, step=subject.removeprefix(f"{self.progress.phase} "))
        for state, index in new:
            self._watcher.row(subject, self._scoreboard.rows(state, [index])[0])
        return [self._scoreboard.rows(state, [index])[0] for state, index in pairs]

    def known(self, state: ProgramState) -> dict[int, Row]:
        """Return the validation rows of a state so far, by the position of their examples."""
        indices = [index for index in range(len(self.val)) if self._scoreboard.has(state, index)]
        rows = self._scoreboard.rows(state, indices) if indices else []
        return dict(zip(indices, rows, strict=True))

    def weighted_scores(self, state: ProgramState) -> dict[int, float]:
        """Return what a state is compared by on each validation example so far, by position.

        That is its scores, or its weighted scores if the recipe has objectives.
        """
        indices = list(self.known(state))
        return dict(zip(indices, self._scoreboard.weighted_scores(state, indices), strict=True))

    async def race(self, entries: Sequence[Entry], *, halve: bool = False) -> list[Candidate]:
        """Score states on the validation examples while they may still be the best.

        All are run on the same examples in the same seeded order, block by block, against each
        other and the best candidate so far. After each block, those that are behind by more than
        chance are dropped. Examples on which all states so far had the same score come last.

        Args:
            entries: states, each with a name of a few words. A state that is a candidate already
                keeps its score.
            halve: whether the worse half of the entries is dropped after each block too
                (successive halving), if the recipe has racing at all: for searches that must know
                the best of many states, and of the others no more than that they are worse.

        Returns:
            A candidate for each entry: `complete`, or dropped on the way.

        Raises:
            BudgetExhaustedError: if the budget ends first; the leader may then be the best.
        """
        async with self._turn:
            # The best so far was found on the informative examples: on few of them, all else looks
            # worse than it is.
            unsorted = isinstance(self._race.rules, Knockout)
            known = [] if unsorted else self._scoreboard.known()
            order = informative_first(self._order, known)
            return await self._race.run(entries, order, halve=halve)

    def estimate(self, candidate: Candidate) -> float:
        """Estimate a candidate's score on all validation examples, even if it was dropped.

        The estimate for a dropped candidate is the best candidate's score plus the mean lead over
        it on the rows that both have. Its own mean would be too low: the harder examples come
        first. If the recipe has objectives, its weighted score is estimated.
        """
        if candidate.complete:
            return candidate.weighted_score
        estimate = self.best.weighted_score + self._scoreboard.lead_over(candidate, self.best)
        return estimate if candidate.objectives else min(1.0, max(0.0, estimate))

    async def rollouts(
        self,
        state: ProgramState,
        examples: Sequence[Example],
        *,
        sample: int = 0,
        threshold: float = 1.0,
        lm: LM | None = None,
    ) -> list[Rollout]:
        """Run the teacher on training examples, one sample of each.

        Args:
            state: the teacher's state, unless the recipe has a teacher program.
            sample: the sample number.
            threshold: the score from which a rollout passes.
            lm: an LM in place of the recipe's teacher.

        Raises:
            RecipeError: if the recipe's teacher program raises on every example.
        """
        program = self._teacher_program or self.program.bind(state)
        async with self._turn:
            evaluation = await self._runner.run(
                f"rollouts {sample}",
                [(program, example) for example in examples],
                role="teacher",
                sample=sample,
                lm=lm,
                all_rows=len(self.train),
            )
        if self._teacher_program and len(examples) >= min(TELLING_RUNS, len(self.train)):
            check_not_all_raised("the teacher program", evaluation.rows)
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
        """Run the student with each state on the same training examples.

        Returns:
            An evaluation for each state, with rows numbered in the order of the examples.
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
        """Run the student on training examples, with a state for each; return their rows."""
        bound = {state: self.program.bind(state) for state, _ in pairs}
        async with self._turn:
            evaluation = await self._runner.run(
                "trial", [(bound[state], example) for state, example in pairs], sample=sample
            )
        for row in evaluation.rows:
            self._watcher.row("trial", row)
        return list(evaluation.rows)

    async def ask(
        self, signature: type[S], *, temperature: float | None = 1.0, **inputs: Any
    ) -> S | None:
        """Ask the proposer one question; see `ask_all`."""
        (answer,) = await self.ask_all(signature, [inputs], temperature=temperature)
        return answer

    async def ask_all(
        self,
        signature: type[S],
        questions: Sequence[Mapping[str, Any]],
        *,
        temperature: float | None = 1.0,
    ) -> list[S | None]:
        """Ask the proposer, the LM that writes what candidates are made of.

        A repeated question, in this call or a later one, gets another sample of the answer.

        Args:
            questions: the inputs of each question: texts, and `Cases`, of which as many are shown
                as fit into the proposer's context.
            temperature: the sampling temperature; None is that of the proposer itself. An LM whose
                own is None gets none.

        Returns:
            An answer for each question; None if it cannot be parsed or the server refuses it. Both
            are counted in `proposals`.

        Raises:
            LMRequestError: if the server has refused every question of this signature so far.
        """
        async with self._turn:
            asking = self._proposer.ask(signature, questions, temperature)
            return await self._ledger.within_time(asking)

    async def call(self, request: Request, *, role: str = "task", label: str = "") -> Reply:
        """Make one LM call, for a search that makes its calls itself; many may run at once.

        Where the budget ends then depends on the order in which they are made. It ends while there
        is room to validate one state, but not before half of it is spent.

        Args:
            request: what is asked.
            role: whose account it is on.
            label: the path of the predictor that asks.

        Raises:
            LMError: if the LM cannot be reached or refuses the request.
        """
        worst, calls = Spend.worst_case(1, [request.lm]), list[Call]()
        await self._ledger.admit(worst, keep=self._room_to_validate)
        try:
            with scope(trace=None, role=role, calls=calls, max_calls=None, example=None):
                asking = current_settings().runtime.acomplete(request, label=label)
                return await self._ledger.within_time(asking)
        finally:
            self._ledger.settle(worst, calls)

    @cached_property
    def _room_to_validate(self) -> Spend:
        run = worst_run(self.program, [self.student], self.metric, self.lms.judge)
        whole, budget = run * len(self.val), self._ledger.budget
        most = {"calls": budget.calls, "tokens": budget.tokens, "usd": budget.usd}
        halves = {name: limit / 2 for name, limit in most.items() if limit is not None}
        fits = all((getattr(whole, name) or 0) <= half for name, half in halves.items())
        return whole if fits else Spend()

    async def embed(self, pools: Mapping[str, Sequence[Demo]]) -> PoolVectors | None:
        """Embed demonstrations, given by predictor path; each text is sent once.

        Returns:
            Their vectors; None if the recipe has no embedder, so that similarity is by words.
        """
        async with self._turn:
            return await self._ledger.within_time(self._embedder.embed(self.predictors, pools))

    async def embed_texts(self, texts: Sequence[str]) -> Mapping[str, str] | None:
        """Embed texts, each of them once.

        Returns:
            Their vectors, encoded as in `foundation.vectors`; None if the recipe has no embedder.
        """
        async with self._turn:
            return await self._ledger.within_time(self._embedder.embed_texts(texts))

    async def train_weights(
        self,
        label: str,
        rows: Sequence[TrainingRow],
        settings: TrainingSettings,
        *,
        choice: RowChoice | None = None,
    ) -> Weights:
        """Train weights for the student; see `weights.Trainings`.

        Args:
            label: names the training, such as a predictor's path.
            choice: how the rows were chosen, for the run folder.

        Raises:
            RecipeError: if this task has no trainer.
            TrainingError: if the training fails.
            BudgetExhaustedError: if the time is over first.
        """
        if (trainings := self._trainings) is None:
            raise RecipeError(
                "weights are only trained within a compile: run the optimizer by lmpipe.compile"
            )
        async with self._turn:
            reporter = self.progress.training_reporter(label)
            training = trainings.train(label, rows, settings, reporter, choice=choice)
            return await self._ledger.within_time(training)

    async def test(
        self, subject: str, state: ProgramState, examples: Sequence[Example], *, first: int = 0
    ) -> Evaluation:
        """Score a state after the search.

        Args:
            subject: the name under which the rows are recorded: `test NAME`, or `train`.
            first: the position of the first example in the whole set.
        """
        program, step = self.program.bind(state), subject.removeprefix("test ")
        async with self._turn:
            evaluation = await self._runner.run(step, [(program, example) for example in examples])
        rows = tuple(replace(row, index=row.index + first) for row in evaluation.rows)
        for row in rows:
            self._watcher.row(subject, row)
        return Evaluation(rows, evaluation.seconds)

    def note(self, kind: str, **data: Any) -> None:
        """Record a note in the run's events."""
        self._watcher.note(kind, data)

    async def _score(self, pairs: Sequence[Pair], *, step: str = "race") -> None:
        """Run states on validation examples, except those whose rows are known."""
        missing = [pair for pair in pairs if not self._scoreboard.has(*pair)]
        if not missing:
            return
        bound = {state: self.program.bind(state) for state, _ in missing}
        evaluation = await self._runner.run(
            step if len(bound) == 1 else f"race of {len(bound)}",
            [(bound[state], self.val[index]) for state, index in missing],
            all_rows=len(self.val),
        )
        for (state, index), row in zip(missing, evaluation.rows, strict=True):
            self._scoreboard.add_row(state, replace(row, index=index))
