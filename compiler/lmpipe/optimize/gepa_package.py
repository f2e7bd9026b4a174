"""Run a search of the `gepa` package on the engine.

The package evaluates candidates and asks for instructions by callbacks. `GepaCallbacks` answers
them with steps of the task.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from lmpipe.evaluation.results import Row
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.shared.blocking_library import StepRunner, load_library, run_library
from lmpipe.optimize.shared.candidate_names import changes_words
from lmpipe.optimize.shared.proposer_text import clean_instruction, describe_rows, with_instruction
from lmpipe.signatures.signature import Input, Output, Signature
from lmpipe.signatures.signature_spec import spec_text
from lmpipe.state.program_state import ProgramState

# The package tests a merged candidate on this many validation examples before it scores it on all.
MERGE_TEST = 5

# The package's components are our predictors, here by number: the package iterates over sets of
# their names, and the order of strings in a set differs between processes.
Texts = dict[int, str]
# An example is ("train" or "val", its position): the package scores both kinds by the same call.
Place = tuple[str, int]

# Negligible beside a score of 1, but the package draws by score, which fails if all scores are 0.
_ZERO = sys.float_info.min


class ImproveByReflection(Signature):
    """Improve the instruction of one step of a program.

    Read what the step did and what was said to it. Find out what the instruction leaves open or
    gets wrong: rules of the task, facts of its field, the form of the outputs. Write an
    instruction that prevents these errors and keeps what works. State rules that hold for other
    inputs too; do not recite these cases.
    """

    step: str = Input(desc="what goes in and what comes out")
    instruction: str = Input(desc="the instruction as it is")
    cases: str = Input(desc="what the step did with it, and how good the program's result was")
    improved_instruction: str = Output(desc="the whole new instruction")


async def run_gepa(
    task: Task, *, batch: int, merge: bool, components: str, stop_after: int
) -> None:
    """Let the package search; what it finds are candidates of the task.

    No step begins after `stop_after` runs of the program.

    Raises:
        BudgetExhaustedError: if the budget ends first.
        ConfigError: if the package is not installed.
    """
    gepa = load_library("gepa", optimizer="GEPA", extra="gepa")

    def search(steps: StepRunner) -> None:
        callbacks = GepaCallbacks(task, steps, gepa)
        gepa.optimize(
            seed_candidate=dict(
                enumerate(task.start[path].instruction for path in task.predictors)
            ),
            trainset=[("train", index) for index in range(len(task.train))],
            valset=[("val", index) for index in range(len(task.val))],
            adapter=callbacks,
            module_selector=components,
            reflection_minibatch_size=batch,
            use_merge=merge,
            merge_val_overlap_floor=min(MERGE_TEST, len(task.val)),
            stop_callbacks=lambda state: state.total_num_evals > stop_after,
            seed=task.rng("gepa").getrandbits(32),
            logger=SimpleNamespace(log=lambda message: None),  # the engine reports progress
            track_best_outputs=False,
            raise_on_exception=True,
        )

    await run_library(search)


class GepaCallbacks:
    """What the package calls an adapter: it evaluates texts and writes new ones.

    `steps` runs steps of the task from the package's thread.
    """

    def __init__(self, task: Task, steps: StepRunner, gepa: Any) -> None:
        self._task = task
        self._steps = steps
        self._batch = gepa.EvaluationBatch
        self._paths = list(task.predictors)
        self._joined = 0

    def evaluate(
        self, batch: Sequence[Place], candidate: Texts, capture_traces: bool = False
    ) -> Any:
        state = self._task.start
        for number, text in candidate.items():
            state = with_instruction(state, self._paths[number], text)
        kinds, indices = {kind for kind, _ in batch}, [index for _, index in batch]
        rows = self._trial(state, indices) if kinds == {"train"} else self._validate(state, indices)
        scores = [max(row.score.value, _ZERO) for row in rows]
        return self._batch(outputs=rows, scores=scores, trajectories=rows)

    def _trial(self, state: ProgramState, indices: Sequence[int]) -> Sequence[Row]:
        examples = [self._task.train[index] for index in indices]
        (evaluation,) = self._steps(self._task.trial([state], examples))
        return evaluation.rows

    def _validate(self, state: ProgramState, indices: Sequence[int]) -> Sequence[Row]:
        if len(set(indices)) < len(self._task.val):  # the test of a merged candidate
            known = sorted(set(indices))
            rows = dict(zip(known, self._steps(self._task.peek(state, known)), strict=True))
        else:
            name = f"gepa {self._joined}: {changes_words(self._task.start, state)}"
            evaluation = self._steps(self._task.evaluate(state, name=name))
            rows = {row.index: row for row in evaluation.rows}
            self._joined += 1
        return [rows[index] for index in indices]

    def make_reflective_dataset(
        self, candidate: Texts, eval_batch: Any, components_to_update: Sequence[int]
    ) -> dict[int, list[dict[str, Row]]]:
        records = [{"row": row} for row in eval_batch.trajectories]
        return {number: list(records) for number in components_to_update}

    def propose_new_texts(
        self,
        candidate: Texts,
        reflective_dataset: Mapping[int, Sequence[Mapping[str, Row]]],
        components_to_update: Sequence[int],
    ) -> Texts:
        rows = {
            number: [record["row"] for record in reflective_dataset[number]]
            for number in components_to_update
        }
        # One step for all of them: the package drops a proposal that raises, whatever the error.
        return self._steps(self._reflect(candidate, rows))

    async def _reflect(self, candidate: Texts, rows: Mapping[int, Sequence[Row]]) -> Texts:
        questions = [
            {
                "step": spec_text(self._task.predictors[self._paths[number]].spec.describe()),
                "instruction": candidate[number],
                "cases": describe_rows(shown, self._paths[number]),
            }
            for number, shown in rows.items()
        ]
        answers = await self._task.ask_all(ImproveByReflection, questions)
        texts = {
            number: clean_instruction(answer.improved_instruction)
            for number, answer in zip(rows, answers, strict=True)
            if answer is not None
        }
        return {n: text for n, text in texts.items() if text and text != candidate[n]}
