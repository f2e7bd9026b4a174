"""Run a search of the `gepa` package on the engine.

The package decides what happens next, and calls back for everything that it needs: `GepaCallbacks`
is its adapter, its choice of parents and mini-batches, and its acceptance.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.gepa_compared import ComparedExamples
from lmpipe.optimize.gepa_components import Component, Components
from lmpipe.optimize.gepa_knowledge import Place
from lmpipe.optimize.gepa_search import (
    MERGE_TEST,
    GepaSearch,
    Proposal,
    SearchSettings,
)
from lmpipe.optimize.shared.blocking_library import StepRunner, load_library, run_library
from lmpipe.state.program_state import ProgramState

# The package's components are the texts of `Components`, here by number: the package iterates over
# sets of their names, and the order of strings in a set differs between processes.
Texts = dict[int, str]
# Negligible beside a score of 1, but the package draws by score, which fails if all scores are 0.
_ZERO = sys.float_info.min
# After this many steps without a run, or questions without a new text in their answer, one after
# the other, nothing is left to propose.
_IDLE_STEPS, _IDLE_ASKS = 30, 40
# After this many proposals of which none was accepted, a candidate is not a parent. When this
# holds for all, or nothing better was found for so long, the search starts anew from other text.
_PATIENCE, _STUCK = 8, 16


async def run_gepa(
    task: Task, settings: SearchSettings, components: Components, *, merge: bool, choice: str
) -> None:
    """Let the package search; what it finds are candidates of the task.

    Args:
        task: the engine.
        settings: of the search.
        components: the texts that it changes.
        merge: whether candidates are merged.
        choice: whose texts a step changes: `round_robin`, `all` or `credit`.

    Raises:
        BudgetExhaustedError: if the budget ends first.
        ConfigError: if the package is not installed.
    """
    gepa = load_library("gepa", optimizer="GEPA", extra="gepa")
    if not task.scored:
        await task.evaluate(task.start, name="as declared")
    search = GepaSearch(task, settings, components, task.rng("gepa"))
    await search.validate([task.start])

    def run(steps: StepRunner) -> GepaCallbacks:
        callbacks = GepaCallbacks(search, steps, gepa)
        compared = ComparedExamples(search.first_block, len(task.train))
        gepa.optimize(
            seed_candidate=callbacks.texts(task.start),
            trainset=list(range(len(task.train))),
            valset=compared.places,
            adapter=callbacks,
            reflection_strategy=callbacks,
            candidate_selection_strategy=callbacks,
            sampling_strategy=callbacks,
            selection_strategy=callbacks,
            val_evaluation_policy=compared,
            module_selector=callbacks.choose if choice == "credit" else choice,
            reflection_minibatch_size=settings.batch,
            use_merge=merge,
            merge_val_overlap_floor=min(MERGE_TEST, len(search.first_block)),
            stop_callbacks=callbacks.ended,
            seed=task.rng("gepa package").getrandbits(32),
            logger=SimpleNamespace(log=lambda message: None),  # the engine reports progress
            track_best_outputs=False,
            raise_on_exception=True,
        )
        return callbacks

    callbacks = await run_library(run)
    await search.finish(callbacks.pool)


class GepaCallbacks:
    """What the package calls an adapter, a sampling strategy and a selection strategy.

    `steps` runs steps of the task from the package's thread.
    """

    propose_new_texts = None  # the reflection strategy writes texts, for all jobs at once

    def __init__(self, search: GepaSearch, steps: StepRunner, gepa: Any) -> None:
        self.pool = [search.task.start]
        self._search = search
        self._steps = steps
        self._gepa = gepa
        self._components = search.components
        self._rng: random.Random = search.task.rng("gepa choices")
        self._idle = self._unanswered = 0
        self._fruitless: dict[ProgramState, int] = {}
        self._no_better = 0
        self._best_promise = search.known.promise(search.task.start)
        self._last_runs = search.runs
        self._anew: ProgramState | None = None
        self._only_anew = False
        self._credit = {number: [1, 1] for number in range(len(self._components.every))}

    def texts(self, state: ProgramState) -> Texts:
        """Return the texts of a state as a candidate of the package."""
        text = self._components.text
        return {number: text(state, item) for number, item in enumerate(self._components.every)}

    def state(self, candidate: Mapping[int, str]) -> ProgramState:
        """Return the state of a candidate of the package."""
        texts = {self._components.every[number]: text for number, text in candidate.items()}
        return self._components.changed(self._search.task.start, texts)

    def ended(self, state: Any) -> bool:
        """Whether the package should stop; raises if a step of the engine failed."""
        if self._steps.failure is not None:
            raise self._steps.failure
        self._follow(state)  # after the last step, too
        self._idle = 0 if self._search.runs > self._last_runs else self._idle + 1
        self._last_runs = self._search.runs
        return self._search.ended or self._idle > _IDLE_STEPS or self._unanswered > _IDLE_ASKS

    # --- parents and mini-batches

    def sample_tasks(
        self, state: Any, candidate_selector: Any, batch_sampler: Any, trainset: Any
    ) -> list[Any]:
        """Draw parents, and a mini-batch for each of their children."""
        self._steps(self._search.keep_pace(self.pool))
        if self._search.ended:
            return []
        if self._no_better >= _STUCK or not self._front():
            self._start_anew(state)
        tasks, taken = [], list[int]()
        for _ in range(self._search.settings.parents):
            number = self.select_candidate_idx(state)
            for _ in range(self._search.settings.proposals):
                indices = self._search.batches.choose(self.pool[number], taken)
                taken += indices
                tasks.append(
                    self._gepa.strategies.proposal_sampling.ProposalTask(
                        number, state.program_candidates[number], indices, indices
                    )
                )
        return tasks

    def select_candidate_idx(self, state: Any) -> int:
        """Draw a candidate that is best on some example, as far as that was seen."""
        promise = [self._search.known.promise(one) for one in self.pool]
        choose = self._gepa.gepa_utils.select_program_candidate_from_pareto_front
        return int(choose(self._front(), promise, self._rng))

    def _front(self) -> dict[Place, set[int]]:
        """Return the candidates that are best on each example, without fruitless parents.

        Until the search starts anew, they are those that are best beside the fruitless ones.
        """
        numbers = [n for n in range(len(self.pool)) if not self._only_anew or self._is_anew(n)]
        fruitful = {n for n in numbers if self._fruitless.get(self.pool[n], 0) < _PATIENCE}
        if self._anew is not None:
            numbers = sorted(fruitful)
        front = self._search.known.front([self.pool[n] for n in numbers])
        found = {place: {numbers[n] for n in best} & fruitful for place, best in front.items()}
        return {place: best for place, best in found.items() if best}

    def _follow(self, state: Any) -> None:
        """Learn which candidates the package has added to its pool."""
        for number in range(len(self.pool), len(state.program_candidates)):
            child = self.state(state.program_candidates[number])
            parents = [self.pool[up] for up in state.parent_program_for_candidate[number]]
            self._search.known.descend(child, parents)
            self.pool.append(child)

    # --- a start from other text

    def _start_anew(self, state: Any) -> None:
        """Add a candidate without the declared text, or return to all candidates.

        What holds a search back may be in the text that it started from, which children keep.
        """
        self._fruitless.clear()
        self._no_better = 0
        if self._anew is not None:
            self._only_anew = False
            return
        task = self._search.task
        leader = self._search.known.leader(self.pool)
        self._anew = self._components.without_declared(task.start, leader)
        if self._anew in self.pool:
            return
        rows = self._steps(self._search.validate([self._anew]))[self._anew]
        self._search.known.descend(self._anew, [task.start])
        self._only_anew = True
        self._best_promise = self._search.known.promise(self._anew)
        scores = {place: max(row.score.value, _ZERO) for place, row in enumerate(rows)}
        state.update_state_with_new_program(
            parent_program_idx=[],
            new_program=self.texts(self._anew),
            valset_evaluation=SimpleNamespace(
                scores_by_val_id=scores, outputs_by_val_id={}, objective_scores_by_val_id=None
            ),
            run_dir=None,
            num_metric_calls_by_discovery_of_new_program=state.total_num_evals,
        )
        self.pool.append(self._anew)
        instructions = {path: one.instruction for path, one in self._anew.predictors.items()}
        task.note("started anew", instructions=instructions)

    def _is_anew(self, number: int) -> bool:
        """Whether a candidate descends from the one without the declared text."""
        assert self._anew is not None
        return self._search.known.descends(self.pool[number], self._anew)

    # --- evaluation, reflection, acceptance

    def batch_evaluate(self, items: Sequence[tuple[Texts, Sequence[int | Place]]]) -> list[Any]:
        """Run candidates on training examples; or tell what is known of them on others.

        The former are given by their positions, the latter as the package's validation examples.
        """
        states = [(self.state(candidate), batch) for candidate, batch in items]
        pairs = [(state, one) for state, batch in states for one in batch if isinstance(one, int)]
        before = self._search.runs
        rows = iter(self._steps(self._search.train_rows(pairs)) if pairs else [])
        new, found = self._search.runs - before, []
        for state, batch in states:
            seen, promise = self._seen(state)
            scores = [
                next(rows).score.value if isinstance(one, int) else seen.get(one, promise)
                for one in batch
            ]
            found.append(self._evaluated(batch, scores, new))
            new = 0
        return found

    def evaluate(
        self, batch: Sequence[Place], candidate: Texts, capture_traces: bool = False
    ) -> Any:
        """Run one candidate on validation examples of the package: the test of a merged one."""
        state, before = self.state(candidate), self._search.runs
        places = {val: [index for kind, index in batch if kind == val] for val in (True, False)}
        pairs = {val: [(state, index) for index in found] for val, found in places.items()}
        if pairs[True]:
            self._steps(self._search.validation_rows(pairs[True]))
        if pairs[False]:
            self._steps(self._search.train_rows(pairs[False]))
        seen = self._search.known.seen(state)
        new = self._search.runs - before
        return self._evaluated(batch, [seen[place].score for place in batch], new)

    def _evaluated(self, batch: Sequence[Any], scores: Sequence[float], runs: int) -> Any:
        return self._gepa.EvaluationBatch(
            outputs=list(batch),
            scores=[max(score, _ZERO) for score in scores],
            trajectories=list(batch),
            num_metric_calls=runs,
        )

    def _seen(self, state: ProgramState) -> tuple[dict[Place, float], float]:
        """Return the scores of a state on examples, and what is expected of it on others."""
        known = self._search.known
        seen = {place: one.score for place, one in known.seen(state).items()}
        return seen, known.promise(known.leader([*self.pool, state]))

    def choose(
        self, state: Any, rows: Any, scores: Any, number: int, candidate: Texts
    ) -> list[int]:
        """Choose which text to change: rather those whose changes were accepted."""
        draws = {
            component: self._rng.betavariate(accepted, rejected)
            for component, (accepted, rejected) in self._credit.items()
        }
        return [max(draws, key=lambda component: draws[component])]

    def make_reflective_dataset(
        self, candidate: Texts, eval_batch: Any, components_to_update: Sequence[int]
    ) -> dict[int, list[dict[str, int]]]:
        """Hand the examples of a mini-batch on to `reflect_many`."""
        records = [{"index": index} for index in eval_batch.trajectories]
        return {number: list(records) for number in components_to_update}

    def reflect_many(self, jobs: Sequence[Any]) -> list[Any]:
        """Write new texts for the candidates of a step, in one step of the engine."""
        parents = [self.state(candidate) for candidate, _, _ in jobs]
        made = [self._steps(self._search.merge_held(parent)) for parent in parents]
        asked = [place for place, child in enumerate(made) if child is None]
        written = self._children([jobs[place] for place in asked])
        for place, child in zip(asked, written, strict=True):
            made[place] = child
        if self._search.settings.proposals > 1:
            self._merge_siblings(jobs, made)
        found = []
        for (candidate, _, _), child in zip(jobs, made, strict=True):
            texts = self.texts(child) if child else candidate
            new = {number: text for number, text in texts.items() if text != candidate[number]}
            proposal = SimpleNamespace(new_texts=new, prompts={}, raw_lm_outputs={}, metadata={})
            found.append((proposal, self))
        return found

    def _children(self, jobs: Sequence[Any]) -> list[ProgramState | None]:
        """Write a child for each job; None if nothing was learned."""
        known, every = self._search.known, self._components.every
        asked = [
            (parent, every[number], [known.on_train(parent)[one["index"]] for one in rows[number]])
            for candidate, rows, numbers in jobs
            for parent in [self.state(candidate)]
            for number in numbers
        ]
        answers = iter(self._steps(self._search.reflect(asked)) if asked else [])
        made: list[ProgramState | None] = []
        for candidate, rows, numbers in jobs:
            parent = self.state(candidate)
            new: dict[Component, str] = {}
            for number in numbers:
                text = next(answers)
                if text is None or text == candidate[number]:
                    self._search.batches.learned_nothing(
                        parent, [one["index"] for one in rows[number]]
                    )
                    self._unanswered += 1
                    self._credit[number][1] += 1
                    self._bore_nothing(parent)
                else:
                    self._unanswered = 0
                    new[every[number]] = text
            made.append(self._components.changed(parent, new) if new else None)
        return made

    def _merge_siblings(self, jobs: Sequence[Any], made: list[ProgramState | None]) -> None:
        """Put one child in place of several of a parent, if it is better on all their examples."""
        families: dict[ProgramState, list[int]] = {}
        for place, (candidate, _, _) in enumerate(jobs):
            if made[place] is not None:
                families.setdefault(self.state(candidate), []).append(place)
        for parent, places in families.items():
            children = [child for place in places if (child := made[place])]
            if len(set(children)) < 2:
                continue
            indices = dict.fromkeys(
                one["index"] for place in places for rows in jobs[place][1].values() for one in rows
            )
            merged = self._steps(self._search.merge(parent, children, list(indices)))
            if merged is not None:
                for place in places:
                    made[place] = None
                made[places[0]] = merged

    def reflect(self, candidate: Texts, rows: Any, numbers: Sequence[int]) -> Any:
        """Write new texts for one candidate; the package asks so after a failure."""
        return self.reflect_many([(candidate, rows, numbers)])[0]

    def select(self, proposals: Sequence[Any], state: Any, criterion: Any) -> list[Any]:
        """Test all proposals of a step, and validate those that pass on the first block."""
        tested = [
            Proposal(self.pool[one.parent_program_ids[0]], self.state(one.candidate))
            for one in proposals
        ]
        self._steps(self._search.test(tested, self.pool))
        self._steps(self._search.join([one for one in tested if one.accepted]))
        for one in tested:
            for item in self._components.differing(one.parent, one.child):
                number = self._components.every.index(item)
                self._credit[number][0 if one.accepted else 1] += 1
        for one in tested:
            if one.accepted:
                self._fruitless[one.parent] = 0
            else:
                self._bore_nothing(one.parent)
        # The last step's children count: they may be the most promising ones.
        joined = [one.child for one in tested if one.accepted]
        promise = max(map(self._search.known.promise, joined), default=0.0)
        if promise > self._best_promise:
            self._no_better = 0
        else:
            self._no_better += len(joined)
        self._best_promise = max(promise, self._best_promise)
        return [one for one, made in zip(proposals, tested, strict=True) if made.accepted]

    def _bore_nothing(self, parent: ProgramState) -> None:
        """Count a proposal that was of no use."""
        self._fruitless[parent] = self._fruitless.get(parent, 0) + 1
        self._no_better += 1
