"""`COPRO`: instructions improved by coordinate ascent, one predictor at a time."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from lmpipe.evaluation.results import Row
from lmpipe.optimize.engine.events import Candidate
from lmpipe.optimize.engine.optimizer import Cost, DataclassSettings, Sizes, check_settings
from lmpipe.optimize.engine.task import Task
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
    failed runs with the metric's feedback. Each round starts from the best candidate so far; the
    search ends early at a score of 1. When the instructions of the other predictors have changed
    since a predictor's were scored, the best of those are scored again beside the new ones.

    Source: the coordinate ascent of DSPy's COPRO (part of the system of arXiv 2310.03714), with
    the proposals of OPRO (Yang et al., "Large language models as optimizers", arXiv 2309.03409,
    section 3).

    Cost: for each of `depth` rounds and each predictor, `breadth` questions to the proposer, at
    most `breadth` runs of the program for each validation example, and `examples` more runs. If
    there are several predictors, after the first round at most `history - 1` more runs for each
    validation example.

    Args:
        breadth: the number of instructions to propose for a predictor in each round, 1 or more.
        depth: the number of rounds over all predictors, 1 or more.
        examples: the number of training examples to run in search of failures, for each predictor
            and round.
        shown: the number of failed runs that a proposal is shown; each is shown others.
        history: the maximum number of scored instructions that a proposal is shown, 1 or more.
        temperature: the proposer's sampling temperature, 0 or more; None is that of the proposer
            itself.

    Raises:
        RecipeError: if a number is out of range.
    """

    breadth: int = 6
    depth: int = 3
    examples: int = 12
    shown: int = 3
    history: int = 6
    temperature: float | None = 1.0
    name: str = "copro"

    def __post_init__(self) -> None:
        counts = ("breadth", "depth", "history")
        check_settings(self, *counts, minimum=1, integer=True)
        check_settings(self, "examples", "shown", minimum=0, integer=True)
        check_settings(self, "temperature", minimum=0, optional=True)

    async def optimize(self, task: Task) -> ProgramState:
        histories = {path: _History(path) for path in task.predictors}
        for depth in range(self.depth):
            for path in task.predictors:
                if task.best.score >= 1:
                    return task.best.state
                rng, history = task.rng(f"round {depth}, {path}"), histories[path]
                await history.score_again(task, self.history - 1)
                best = task.best.state
                history.add(task, task.best, f"{path}: the first instruction")
                failed = await self._failed_rows(task, best, path, rng)
                proposed = await self._propose(task, history, failed, rng)
                names = [f"{path}: instruction {depth + 1}.{n + 1}" for n in range(len(proposed))]
                states = [with_instruction(best, path, text) for text in proposed]
                raced = await task.race(list(zip(names, states, strict=True)))
                for name, candidate in zip(names, raced, strict=True):
                    history.add(task, candidate, name)
        return task.best.state

    async def _failed_rows(
        self, task: Task, state: ProgramState, path: str, rng: random.Random
    ) -> list[Row]:
        """Run a state on some training examples, and return the rows that score below 1."""
        examples = rng.sample(task.train, min(self.examples, len(task.train)))
        if not examples or not self.shown:
            return []
        (evaluation,) = await task.trial([state], examples)
        return [row for row in evaluation.rows if row.score.value < 1 and row.trace.of(path)]

    async def _propose(
        self,
        task: Task,
        history: _History,
        failed: Sequence[Row],
        rng: random.Random,
    ) -> list[str]:
        """Propose new, distinct instructions for a predictor."""
        path = history.path
        step, tried = step_text(path, task.predictors[path]), history.text(self.history)
        shown = [rng.sample(failed, min(self.shown, len(failed))) for _ in range(self.breadth)]
        answers = await task.ask_all(
            ImproveOnScores,
            [
                {"step": step, "tried": tried, "failed": describe_rows(rows, path, task.predictors)}
                for rows in shown
            ],
            temperature=self.temperature,
        )
        texts = [clean_instruction(answer.instruction) for answer in answers if answer]
        return [text for text in dict.fromkeys(texts) if text and text not in history.names]

    def cost(self, sizes: Sizes) -> Cost:
        steps = self.depth * sizes.predictors
        failures = min(self.examples, sizes.train) if self.shown else 0
        again = 0
        if sizes.predictors > 1:
            tried = (self.breadth * depth for depth in range(self.depth))
            again = sizes.predictors * sum(min(self.history - 1, count) for count in tried)
        runs = steps * (self.breadth * sizes.val + failures) + again * sizes.val
        return Cost(runs, asks=steps * self.breadth)


@dataclass
class _History:
    """The instructions tried for one predictor.

    Args:
        path: the predictor.
        names: the names of all of them, by text.
        scores: the scores of those that were scored beside the same other instructions.
        beside: the state with those other instructions, without this predictor's own.
    """

    path: str
    names: dict[str, str] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    beside: ProgramState | None = None

    def add(self, task: Task, candidate: Candidate, name: str) -> None:
        """Add the instruction of a candidate with its score."""
        text = candidate.state[self.path].instruction
        self.names.setdefault(text, name)
        self.scores[text] = task.estimate(candidate)

    async def score_again(self, task: Task, most: int) -> None:
        """If the other instructions have changed, score `most` of the best beside the new ones."""
        beside = with_instruction(task.best.state, self.path, "")
        if beside == self.beside:
            return
        old, own = self._best_last(), task.best.state[self.path].instruction
        again = [text for text in reversed(old) if text != own][:most]
        self.scores, self.beside = {}, beside
        raced = await task.race(
            [
                (f"{self.names[text]}, again", with_instruction(task.best.state, self.path, text))
                for text in again
            ]
        )
        for candidate in raced:
            self.add(task, candidate, candidate.name)

    def text(self, most: int) -> str:
        """Write up to `most` of them with their scores, the best one last."""
        return "\n\n".join(
            f"score {100 * self.scores[text]:.0f}:\n{text}" for text in self._best_last()[-most:]
        )

    def _best_last(self) -> list[str]:
        return sorted(self.scores, key=lambda text: self.scores[text])
