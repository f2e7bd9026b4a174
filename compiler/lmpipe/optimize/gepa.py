"""`GEPA`: instructions that evolve by reflection on what went wrong."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any, Literal, get_args

from lmpipe.errors import ConfigError, RecipeError
from lmpipe.optimize.optimizer import Cost, Sizes
from lmpipe.optimize.proposals import clean_instruction, describe_rows, with_instruction
from lmpipe.optimize.sync_library import Steps, in_library
from lmpipe.optimize.task import Task
from lmpipe.outcome import Row
from lmpipe.signature import Input, Output, Signature
from lmpipe.spec import spec_text
from lmpipe.state import ProgramState

Effort = Literal["light", "medium", "heavy"]
Components = Literal["round_robin", "all"]

# A component of gepa is a predictor, by its number: gepa goes through sets of their names, and
# the order of strings in a set is another one in each process.
Texts = dict[int, str]
# An example is ("train" or "val", its place), as gepa scores both kinds by the same call.
Place = tuple[str, int]

# Candidates that join the pool, and tries that each of them takes.
_JOINING = {"light": 4, "medium": 8, "heavy": 16}
_TRIES = 3
# gepa tests a merge on so many validation examples before it scores it on all.
_MERGE_TEST = 5
# Beside a score of 1 this is nothing; but gepa draws by score, which fails where all are 0.
_ZERO = sys.float_info.min


class ImproveInstruction(Signature):
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


@dataclass(frozen=True, kw_only=True)
class GEPA:
    """Evolve instructions: reflect on a few runs, keep what is best on any example, and merge.

    "GEPA: Reflective prompt evolution can outperform reinforcement learning" (arXiv 2507.19457,
    algorithms 1 to 4), on the `gepa` package. Of the candidates that are best on some
    validation example, one is drawn; it runs on a minibatch of training examples, and the
    proposer rewrites the instruction of a predictor from those runs and the metric's feedback.
    A child that does better on the same minibatch joins the pool. Two descendants that changed
    other predictors than each other may be merged.

    What joins the pool is scored on all validation examples, without a race: which candidates
    are the best on an example is known only where all of them have been run.

    Cost: at most `calls` runs of the program, validation of the start included, and a question
    for each `minibatch` of them that validation leaves over.

    Args:
        effort: how many runs, from the sizes: enough for some 4, 8 or 16 candidates in the pool,
            and half as many for each further predictor.
        calls: runs of the program instead.
        minibatch: training examples to reflect on.
        merge: whether to merge, at most 5 times.
        components: whose instruction changes in a step: one predictor's in turn, or all of them.

    Raises:
        RecipeError: if a setting is out of range.
        ConfigError: if the gepa package is not installed, when it is run.
    """

    effort: Effort = "light"
    calls: int | None = None
    minibatch: int = 3
    merge: bool = True
    components: Components = "round_robin"
    name: str = "gepa"

    def __post_init__(self) -> None:
        if self.effort not in get_args(Effort) or self.components not in get_args(Components):
            raise RecipeError(
                f"{self}: effort is one of {', '.join(get_args(Effort))}, and components one of "
                f"{', '.join(get_args(Components))}"
            )
        if self.minibatch < 1 or (self.calls is not None and self.calls < 1):
            raise RecipeError(f"{self}: needs 1 call and a minibatch of 1 or more")

    async def optimize(self, task: Task) -> ProgramState:
        gepa = _gepa()
        sizes = Sizes(len(task.train), len(task.val), len(task.predictors))
        step = self._step(sizes)
        last = self._runs(sizes) - step

        def search(steps: Steps) -> None:
            adapter = _Adapter(task, steps, gepa)
            gepa.optimize(
                seed_candidate=adapter.texts(task.start),
                trainset=[("train", index) for index in range(sizes.train)],
                valset=[("val", index) for index in range(sizes.val)],
                adapter=adapter,
                module_selector=self.components,
                reflection_minibatch_size=min(self.minibatch, sizes.train),
                use_merge=self.merge and sizes.predictors > 1,
                merge_val_overlap_floor=min(_MERGE_TEST, sizes.val),
                # It looks between steps alone: a step that could pass the bound is not begun.
                stop_callbacks=lambda state: state.total_num_evals > last,
                seed=task.rng("gepa").getrandbits(32),
                logger=_Silent(),
                track_best_outputs=False,
                raise_on_exception=True,
            )

        await in_library(search)
        return task.best.state

    def cost(self, sizes: Sizes) -> Cost:
        runs = self._runs(sizes)
        minibatch = max(1, min(self.minibatch, sizes.train))
        reflections = max(0, -(-(runs - sizes.val) // minibatch))
        asked = sizes.predictors if self.components == "all" else 1
        return Cost(max(runs, sizes.val), asks=reflections * asked)

    def settings(self) -> dict[str, Any]:
        return asdict(self)

    def _runs(self, sizes: Sizes) -> int:
        if self.calls is not None:
            return self.calls
        joining = math.ceil(_JOINING[self.effort] * (1 + sizes.predictors) / 2)
        return sizes.val + joining * (sizes.val + _TRIES * 2 * self.minibatch)

    def _step(self, sizes: Sizes) -> int:
        """The most runs that gepa makes between two looks at the bound."""
        return max(2 * min(self.minibatch, sizes.train), _MERGE_TEST) + sizes.val


class _Adapter:
    """The engine, as gepa wants to see it.

    Args:
        task: the engine.
        steps: does its steps.
        gepa: the package.
    """

    def __init__(self, task: Task, steps: Steps, gepa: Any) -> None:
        self._task = task
        self._steps = steps
        self._batch = gepa.EvaluationBatch
        self._paths = list(task.predictors)
        self._joined = 0

    def texts(self, state: ProgramState) -> Texts:
        return {number: state[path].instruction for number, path in enumerate(self._paths)}

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
        if len(set(indices)) < len(self._task.val):  # a merge's test
            known = sorted(set(indices))
            rows = dict(zip(known, self._steps(self._task.peek(state, known)), strict=True))
        else:
            evaluation = self._steps(self._task.evaluate(state, name=f"gepa {self._joined}"))
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
        # All of it is one step: gepa drops a proposal that raises, whatever the error.
        return self._steps(self._reflect(candidate, rows))

    async def _reflect(self, candidate: Texts, rows: Mapping[int, Sequence[Row]]) -> Texts:
        questions = [self._question(number, candidate[number], rows[number]) for number in rows]
        answers = await self._task.ask_all(ImproveInstruction, questions)
        texts = {
            number: clean_instruction(answer.improved_instruction)
            for number, answer in zip(rows, answers, strict=True)
            if answer is not None
        }
        return {n: text for n, text in texts.items() if text and text != candidate[n]}

    def _question(self, number: int, text: str, rows: Sequence[Row]) -> dict[str, str]:
        path = self._paths[number]
        return {
            "step": spec_text(self._task.predictors[path].spec.describe()),
            "instruction": text,
            "cases": describe_rows(rows, path),
        }


class _Silent:
    """The engine tells what happens; gepa would print it."""

    def log(self, message: str) -> None:
        pass


def _gepa() -> Any:
    try:
        return import_module("gepa")
    except ImportError as error:
        raise ConfigError(
            f"the GEPA optimizer stands on the gepa package, which cannot be imported ({error}): "
            "pip install 'lmpipe[gepa]'"
        ) from error
