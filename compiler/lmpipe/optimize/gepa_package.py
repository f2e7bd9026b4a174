"""Run a search of the `gepa` package on the engine.

The package decides what happens next, and calls back for everything that it needs: `GepaCallbacks`
is its adapter, its choice of parents and mini-batches, its acceptance and its validation.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from lmpipe.evaluation.results import Row
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.gepa_search import (
    MERGE_TEST,
    GepaSearch,
    Proposal,
    SearchSettings,
    rewritten,
)
from lmpipe.optimize.shared.blocking_library import StepRunner, load_library, run_library
from lmpipe.state.program_state import ProgramState

# The package's components are our predictors, here by number: the package iterates over sets of
# their names, and the order of strings in a set differs between processes.
Texts = dict[int, str]
# An example is ("train" or "val", its position): the package scores both kinds by the same call.
Place = tuple[str, int]

# Negligible beside a score of 1, but the package draws by score, which fails if all scores are 0.
_ZERO = sys.float_info.min
# After this many steps without a run, nothing is left to propose.
_IDLE_STEPS = 30
# After this many proposals of which none was accepted, a candidate is not a parent. When this
# holds for all, or nothing better was found for so long, the search starts anew from other text.
_PATIENCE, _STUCK = 8, 16


async def run_gepa(task: Task, settings: SearchSettings, *, merge: bool, components: str) -> None:
    """Let the package search; what it finds are candidates of the task.

    Args:
        merge: whether candidates are merged.
        components: `round_robin`, `all` or `credit`.

    Raises:
        BudgetExhaustedError: if the budget ends first.
        ConfigError: if the package is not installed.
    """
    gepa = load_library("gepa", optimizer="GEPA", extra="gepa")
    if not task.scored:
        await task.evaluate(task.start, name="as declared")
    search = GepaSearch(task, settings, task.rng("gepa"))
    await search.validate([task.start])

    def run(steps: StepRunner) -> GepaCallbacks:
        callbacks = GepaCallbacks(search, steps, gepa)
        gepa.optimize(
            seed_candidate=callbacks.texts(task.start),
            trainset=[("train", index) for index in range(len(task.train))],
            valset=[("val", index) for index in range(len(task.val))],
            adapter=callbacks,
            reflection_strategy=callbacks,
            candidate_selection_strategy=callbacks,
            sampling_strategy=callbacks,
            selection_strategy=callbacks,
            val_evaluation_policy=callbacks,
            module_selector=callbacks.choose if components == "credit" else components,
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
    """What the package calls an adapter, a sampling, a selection and a validation strategy.

    `steps` runs steps of the task from the package's thread.
    """

    propose_new_texts = None  # the reflection strategy writes texts, for all jobs at once

    def __init__(self, search: GepaSearch, steps: StepRunner, gepa: Any) -> None:
        self.pool = [search.task.start]
        self._search = search
        self._steps = steps
        self._gepa = gepa
        self._paths = list(search.task.predictors)
        self._rng: random.Random = search.task.rng("gepa choices")
        self._idle = 0
        self._fruitless: dict[ProgramState, int] = {}
        self._no_better = 0
        self._best_promise = search.promise(search.task.start)
        self._last_runs = search.runs
        self._anew: ProgramState | None = None
        self._only_anew = False
        self._credit = {number: [1, 1] for number in range(len(self._paths))}

    def texts(self, state: ProgramState) -> Texts:
        """Return the instructions of a state as a candidate of the package."""
        return {number: state[path].instruction for number, path in enumerate(self._paths)}

    def state(self, candidate: Mapping[int, str]) -> ProgramState:
        """Return the state of a candidate of the package."""
        texts = {self._paths[number]: text for number, text in candidate.items()}
        return rewritten(self._search.task.start, texts)

    def ended(self, state: Any) -> bool:
        """Whether the package should stop; raises if a step of the engine failed."""
        if self._steps.failure is not None:
            raise self._steps.failure
        self._idle = 0 if self._search.runs > self._last_runs else self._idle + 1
        self._last_runs = self._search.runs
        return self._search.ended or self._idle > _IDLE_STEPS

    # --- parents and mini-batches

    def sample_tasks(
        self, state: Any, candidate_selector: Any, batch_sampler: Any, trainset: Any
    ) -> list[Any]:
        """Draw parents, and a mini-batch for each of their children."""
        self._follow(state)
        if self._no_better >= _STUCK or not self._front():
            self._start_anew(state)
        tasks, taken = [], list[int]()
        for _ in range(self._search.settings.parents):
            number = self.select_candidate_idx(state)
            for _ in range(self._search.settings.proposals):
                indices = self._search.mini_batch(self.pool[number], taken)
                taken += indices
                places = [("train", index) for index in indices]
                tasks.append(
                    self._gepa.strategies.proposal_sampling.ProposalTask(
                        number, state.program_candidates[number], indices, places
                    )
                )
        return tasks

    def select_candidate_idx(self, state: Any) -> int:
        """Draw a candidate that is best on some validation example, as far as that was seen."""
        scores = [self._search.scores(one) for one in self.pool]
        means = [sum(one.values()) / len(one) for one in scores]
        choose = self._gepa.gepa_utils.select_program_candidate_from_pareto_front
        return int(choose(self._front(), means, self._rng))

    def _front(self) -> dict[int, set[int]]:
        """Return the candidates that are best on each example, without fruitless parents."""
        numbers = [n for n in range(len(self.pool)) if not self._only_anew or self._is_anew(n)]
        scores = {number: self._search.scores(self.pool[number]) for number in numbers}
        front: dict[int, set[int]] = {}
        for index in range(len(self._search.task.val)):
            seen = {number: one[index] for number, one in scores.items() if index in one}
            best = max(seen.values(), default=0.0)
            front[index] = {
                number
                for number, score in seen.items()
                if score == best and self._fruitless.get(self.pool[number], 0) < _PATIENCE
            }
        return {index: numbers for index, numbers in front.items() if numbers}

    def _follow(self, state: Any) -> None:
        """Learn which candidates the package has added to its pool."""
        for number in range(len(self.pool), len(state.program_candidates)):
            child = self.state(state.program_candidates[number])
            parents = [self.pool[up] for up in state.parent_program_for_candidate[number]]
            self._search.descend(child, parents)
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
        self._anew = self._without_declared(self.pool[self._best_number()])
        if self._anew in self.pool:
            return
        rows = self._steps(self._search.validate([self._anew]))[self._anew]
        self._only_anew = True
        self._best_promise = self._search.promise(self._anew)
        scores = {row.index: max(row.score.value, _ZERO) for row in rows}
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
        instructions = {path: self._anew[path].instruction for path in self._paths}
        task.note("started anew", instructions=instructions)

    def _best_number(self) -> int:
        means = [sum(one.values()) / len(one) for one in map(self._search.scores, self.pool)]
        return max(range(len(means)), key=lambda number: (means[number], number))

    def _without_declared(self, best: ProgramState) -> ProgramState:
        """Return the best state without the lines of the declared instructions."""
        start = self._search.task.start
        texts = {}
        for path in self._paths:
            declared = set(start[path].instruction.splitlines())
            lines = best[path].instruction.splitlines()
            kept = [line for line in lines if line not in declared]
            # A text that shares no line with the declared one is new already.
            texts[path] = "" if len(kept) == len(lines) else "\n".join(kept).strip()
        return rewritten(start, texts)

    def _is_anew(self, number: int) -> bool:
        """Whether a candidate descends from the one without the declared text."""
        assert self._anew is not None
        return self._search.descends(self.pool[number], self._anew)

    # --- evaluation, reflection, acceptance

    def batch_evaluate(self, items: Sequence[tuple[Texts, Sequence[Place]]]) -> list[Any]:
        """Run candidates on examples of one kind, all of them at once."""
        pairs = [(self.state(candidate), index) for candidate, batch in items for _, index in batch]
        before = self._search.runs
        kinds = {kind for _, batch in items for kind, _ in batch}
        rows = iter(
            self._steps(
                self._search.train_rows(pairs)
                if kinds == {"train"}
                else self._search.validation_rows(pairs)
            )
        )
        new, found = self._search.runs - before, []
        for _, batch in items:
            shown = [next(rows) for _ in batch]
            scores = [max(row.score.value, _ZERO) for row in shown]
            found.append(
                self._gepa.EvaluationBatch(
                    outputs=shown, scores=scores, trajectories=shown, num_metric_calls=new
                )
            )
            new = 0
        return found

    def evaluate(
        self, batch: Sequence[Place], candidate: Texts, capture_traces: bool = False
    ) -> Any:
        """Run one candidate: the start, and the test of a merged one."""
        (found,) = self.batch_evaluate([(candidate, batch)])
        return found

    def choose(
        self, state: Any, rows: Any, scores: Any, number: int, candidate: Texts
    ) -> list[int]:
        """Choose whose instruction to change: rather those whose changes were accepted."""
        draws = {
            component: self._rng.betavariate(accepted, rejected)
            for component, (accepted, rejected) in self._credit.items()
        }
        return [max(draws, key=lambda component: draws[component])]

    def make_reflective_dataset(
        self, candidate: Texts, eval_batch: Any, components_to_update: Sequence[int]
    ) -> dict[int, list[dict[str, Row]]]:
        """Hand the rows of a mini-batch on to `reflect_many`."""
        records = [{"row": row} for row in eval_batch.trajectories]
        return {number: list(records) for number in components_to_update}

    def reflect_many(self, jobs: Sequence[Any]) -> list[Any]:
        """Write new texts for the candidates of a step, in one step of the engine."""
        asked = [
            (self.state(candidate), self._paths[number], [record["row"] for record in rows[number]])
            for candidate, rows, numbers in jobs
            for number in numbers
        ]
        answers = iter(self._steps(self._search.reflect(asked)))
        found = []
        for candidate, _, numbers in jobs:
            new: Texts = {}
            for number in numbers:
                text = next(answers)
                if text is None or text == candidate[number]:  # nothing was learned
                    self._credit[number][1] += 1
                    self._bore_nothing(self.state(candidate))
                else:
                    new[number] = text
            proposal = SimpleNamespace(new_texts=new, prompts={}, raw_lm_outputs={}, metadata={})
            found.append((proposal, self))
        return found

    def reflect(self, candidate: Texts, rows: Any, numbers: Sequence[int]) -> Any:
        """Write new texts for one candidate; the package asks so after a failure."""
        return self.reflect_many([(candidate, rows, numbers)])[0]

    def select(self, proposals: Sequence[Any], state: Any, criterion: Any) -> list[Any]:
        """Test all proposals of a step, and validate those that pass on the first block."""
        tested = [
            Proposal(
                self.pool[one.parent_program_ids[0]],
                self.state(one.candidate),
                {
                    index: (_score(before), _score(after))
                    for index, before, after in zip(
                        one.subsample_indices,
                        one.subsample_scores_before,
                        one.subsample_scores_after,
                        strict=True,
                    )
                },
            )
            for one in proposals
        ]
        self._steps(self._search.test(tested, self.pool))
        self._steps(self._search.join([one for one in tested if one.accepted]))
        for one in tested:
            for number, path in enumerate(self._paths):
                if one.child[path].instruction != one.parent[path].instruction:
                    self._credit[number][0 if one.accepted else 1] += 1
        for one in tested:
            if one.accepted:
                self._fruitless[one.parent] = 0
            else:
                self._bore_nothing(one.parent)
        # The last step's children count: they may be the most promising ones.
        joined = [one.child for one in tested if one.accepted]
        promise = max(map(self._search.promise, joined), default=0.0)
        if promise > self._best_promise:
            self._no_better = 0
        else:
            self._no_better += len(joined)
        self._best_promise = max(promise, self._best_promise)
        self._steps(self._search.keep_pace([*self.pool, *joined]))
        return [one for one, made in zip(proposals, tested, strict=True) if made.accepted]

    def _bore_nothing(self, parent: ProgramState) -> None:
        """Count a proposal that was of no use."""
        self._fruitless[parent] = self._fruitless.get(parent, 0) + 1
        self._no_better += 1

    # --- the package's validation: the first block

    def get_eval_batch(self, loader: Any, state: Any, target_program_idx: Any = None) -> list[int]:
        """Return the validation examples that all candidates are run on."""
        return list(self._search.first_block)

    def get_seed_eval_batch(self, loader: Any) -> list[int]:
        """Return the validation examples that the start is run on."""
        return list(self._search.first_block)

    def get_best_program(self, state: Any) -> int:
        """Return the number of the candidate with the best mean."""
        means = state.program_full_scores_val_set
        return max(range(len(means)), key=lambda number: means[number])

    def get_valset_score(self, program_idx: int, state: Any) -> float:
        """Return the mean of a candidate on the first block."""
        return float(state.program_full_scores_val_set[program_idx])


def _score(value: float) -> float:
    return 0.0 if value == _ZERO else value
