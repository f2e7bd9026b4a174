"""`COPRO`: instructions improved by coordinate ascent, one predictor at a time."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from lmpipe.evaluation.results import Row
from lmpipe.optimize.copro_scores import TrainingScores, Tried, climbing_runs
from lmpipe.optimize.engine.optimizer import Cost, DataclassSettings, Sizes, check_settings
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.shared.candidate_names import changes_words
from lmpipe.optimize.shared.doubling import looks, looks_before
from lmpipe.optimize.shared.proposer_text import (
    clean_instruction,
    describe_rows,
    step_text,
    with_instruction,
)
from lmpipe.signatures.signature import Input, Output, Signature
from lmpipe.state.program_state import ProgramState


class ImproveOnScores(Signature):
    """Write a better instruction for one step of a program.

    A language model carries the step out, and sees nothing but the instruction and the inputs.
    The instructions tried so far stand with their scores from 0 to 100, the best one last. Find
    out what made the better ones better and what the failed runs lack, then write one that is
    unlike all of them and scores higher. It must fit every input of the step: say how to get the
    outputs right, and give no answer to a single input away.
    """

    step: str = Input(desc="the step's name, inputs and outputs")
    tried: str = Input(desc="instructions with their scores, the best one last")
    failed: str = Input(desc="runs of the last instruction that went wrong")
    instruction: str = Output(desc="the new instruction, complete and ready to use")


@dataclass(frozen=True, kw_only=True)
class COPRO(DataclassSettings):
    """Improve the instruction of each predictor in turn, and keep what scores best.

    The proposer is shown the instructions tried so far with their scores, the best one last, and
    failed runs with the metric's feedback. Its proposals are scored beside the best state so far on
    a sample of the training examples, another one each time, and the worse half drops out twice on
    the way. The best state races on validation after rounds 1, 2, 4, 8 and so on, and the best few
    do at the end. The search ends early when all is right.

    Source: the coordinate ascent of DSPy's COPRO (part of the system of arXiv 2310.03714), with
    the proposals of OPRO (Yang et al., "Large language models as optimizers", arXiv 2309.03409,
    section 3). Deviations: the proposer also sees failed runs; proposals are scored by successive
    halving (Jamieson and Talwalkar, arXiv 1502.07943) on samples that change, in place of all of
    them on the same examples, so that luck on some of these does not last; if there are several
    predictors, only the best old instructions are scored again when the others have changed; the
    result is chosen on validation.

    Cost: for each of `depth` rounds and each predictor, `breadth` questions to the proposer and
    about `examples * (breadth / 2 + 2)` runs of the program, or `examples * (breadth + 2)` if there
    are several predictors; `finalists` runs for each validation example, and one more for each
    doubling of the rounds.

    Args:
        breadth: the number of instructions to propose for a predictor in each round, 1 or more.
        depth: the number of rounds over all predictors, 1 or more.
        examples: the number of training examples in a sample, 1 or more.
        shown: the number of failed runs that a proposal is shown; each is shown others.
        history: the maximum number of scored instructions that a proposal is shown, 1 or more.
        finalists: the number of states in the final race, 1 or more.
        temperature: the proposer's sampling temperature, 0 or more; None is that of the proposer
            itself.

    Raises:
        RecipeError: if a number is out of range.
    """

    breadth: int = 6
    depth: int = 6
    examples: int = 24
    shown: int = 3
    history: int = 10
    finalists: int = 3
    temperature: float | None = 1.0
    name: str = "copro"

    def __post_init__(self) -> None:
        counts = ("breadth", "depth", "examples", "history", "finalists")
        check_settings(self, *counts, minimum=1, integer=True)
        check_settings(self, "shown", minimum=0, integer=True)
        check_settings(self, "temperature", minimum=0, optional=True)

    async def optimize(self, task: Task) -> ProgramState:
        start = task.best.state
        scores = TrainingScores(task, self.examples, task.rng("samples"), start)
        tried = [Tried(path, {start[path].instruction: 0.0}) for path in task.predictors]
        for depth in range(1, self.depth + 1):
            if task.best.score >= 1:
                break
            climbed = [await self._climb(task, scores, one, depth) for one in tried]
            last = depth == self.depth or not any(climbed)
            if last or looks(depth):
                await self._validate(task, scores, depth, self.finalists if last else 1)
            if last:
                break
        return task.best.state

    async def _climb(self, task: Task, scores: TrainingScores, tried: Tried, depth: int) -> bool:
        """Improve one predictor's instruction; return whether there was anything to improve."""
        rng = task.rng(f"round {depth}, {tried.path}")
        # A sample on which all is right teaches nothing; two of them end the search.
        failed = await scores.draw() or await scores.draw()
        if not failed:
            return False
        again = await scores.better(tried.unknown(scores, self._again(len(task.predictors))))
        texts = await self._propose(task, scores, tried, failed, rng)
        proposed = [with_instruction(scores.best, tried.path, text) for text in texts]
        await scores.climb([*proposed, *again])
        tried.score(scores, texts)
        return True

    async def _propose(
        self,
        task: Task,
        scores: TrainingScores,
        tried: Tried,
        failed: Sequence[Row],
        rng: random.Random,
    ) -> list[str]:
        """Propose new, distinct instructions for a predictor."""
        path = tried.path
        called = [row for row in failed if row.trace.of(path)]
        shown = [rng.sample(called, min(self.shown, len(called))) for _ in range(self.breadth)]
        step = step_text(path, task.predictors[path], task.start[path])
        history = tried.text(scores, self.history)
        answers = await task.ask_all(
            ImproveOnScores,
            [
                {
                    "step": step,
                    "tried": history,
                    "failed": describe_rows(rows, path, task.predictors),
                }
                for rows in shown
            ],
            temperature=self.temperature,
        )
        texts = [clean_instruction(answer.instruction) for answer in answers if answer]
        return [text for text in dict.fromkeys(texts) if text and text not in tried.scores]

    async def _validate(self, task: Task, scores: TrainingScores, depth: int, count: int) -> None:
        """Race the best states on validation."""
        await task.race(
            [
                (f"round {depth}, leader {number}: {changes_words(task.start, state)}", state)
                for number, state in enumerate(scores.leaders(count), start=1)
            ]
        )

    def _again(self, predictors: int) -> int:
        """The number of old instructions that are scored again when other ones have changed."""
        return min(self.history - 1, self.breadth // 2) if predictors > 1 else 0

    def cost(self, sizes: Sizes) -> Cost:
        steps, size = self.depth * sizes.predictors, min(self.examples, sizes.train)
        entrants = self.breadth + self._again(sizes.predictors)
        validations = self.finalists + looks_before(self.depth)
        runs = steps * (2 * size + climbing_runs(entrants, size)) + validations * sizes.val
        return Cost(runs, asks=steps * self.breadth)
