"""`InferRules`: rules in words, induced from examples, added to the instructions."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lmpipe.errors import RecipeError
from lmpipe.evaluation.results import Row
from lmpipe.optimize.bootstrap_few_shot import BootstrapFewShot
from lmpipe.optimize.engine.optimizer import Cost, Sizes
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.shared.demos import (
    bootstrapped_demos,
    distinct_demos,
    draw_demos,
    labeled_demos,
    with_demos,
)
from lmpipe.optimize.shared.proposer_text import (
    clean_instruction,
    describe_demos,
    describe_rows,
    with_instruction,
)
from lmpipe.signatures.signature import Input, Output, Signature
from lmpipe.state.program_state import Demo, ProgramState

# Examples and failed runs that one question shows: a proposer's context may be small.
_EXAMPLES, _FAILED = 8, 3
# Training examples that the program is run on in search of failures.
_SEEN = 8


class WriteRules(Signature):
    """Find the rules by which the outputs of these examples follow from their inputs.

    Write them as a short list that somebody could apply to new inputs: one rule in each line, the
    most important first. Rules must be true of all examples; what went wrong in the failed runs
    should not happen to one who follows them.
    """

    instruction: str = Input(desc="what the step is told now")
    examples: str = Input(desc="inputs with right outputs")
    failed: str = Input(desc="runs that went wrong, and why")
    rules: str = Output(desc="three to six rules, one in each line")


@dataclass(frozen=True, kw_only=True)
class InferRules:
    """Let the proposer find rules in the examples, and add them to the instructions.

    Each candidate's rules come from another half of the labeled and bootstrapped demonstrations
    and from other failed runs; candidates race with demonstrations and without them.

    Source: DSPy's InferRules, which has no paper; inducing instructions from examples is Honovich
    et al., "Instruction induction" (arXiv 2205.10782, section 2).

    Cost: one run of the program for each training example, 8, and `2 * candidates` for each
    validation example; `candidates` questions to the proposer for each predictor.

    Args:
        candidates: sets of rules for each predictor.
        demos: demonstrations that half of the candidates show.
        threshold: the score from which a rollout passes.

    Raises:
        RecipeError: if a number is out of range.
    """

    candidates: int = 5
    demos: int = 4
    threshold: float = 1.0
    name: str = "infer-rules"

    def __post_init__(self) -> None:
        if self.candidates < 1 or self.demos < 1:
            raise RecipeError(f"{self}: needs 1 candidate and demonstration or more")

    async def optimize(self, task: Task) -> ProgramState:
        rng = task.rng("rules")
        pools = await self._pools(task, rng)
        seen = rng.sample(task.train, min(_SEEN, len(task.train)))
        (tried,) = await task.trial([task.start], seen)
        failed = [row for row in tried.rows if row.score.value < 1]
        ruled = [task.start] * self.candidates
        for path, pool in pools.items():
            for number, rules in enumerate(await self._rules(task, path, pool, failed, rng)):
                if rules:
                    told = task.start[path].instruction
                    ruled[number] = with_instruction(ruled[number], path, f"{told}\n\n{rules}")
        entries = []
        for number, state in enumerate(ruled, start=1):
            shown = {
                path: draw_demos(task.predictors[path].spec, pool, self.demos, rng)
                for path, pool in pools.items()
            }
            entries += [
                (f"rules {number}", state),
                (f"rules {number}, {self.demos} demos", with_demos(state, shown)),
            ]
        await task.race(entries)
        return task.best.state

    async def _pools(self, task: Task, rng: random.Random) -> Mapping[str, Sequence[Demo]]:
        """What is known to be right, by predictor: labeled examples and passed rollouts."""
        collector = BootstrapFewShot(threshold=self.threshold)
        passed = await collector.passed(task, rng, enough=2 * _EXAMPLES)
        own = bootstrapped_demos(passed, rng)
        labeled = labeled_demos(task.predictors, task.train)
        return {path: distinct_demos([*own.get(path, []), *pool]) for path, pool in labeled.items()}

    async def _rules(
        self,
        task: Task,
        path: str,
        pool: Sequence[Demo],
        failed: Sequence[Row],
        rng: random.Random,
    ) -> list[str]:
        """Rules for one predictor, once for each candidate; empty where they were dropped."""
        called = [row for row in failed if row.trace.of(path)]
        questions = []
        for _ in range(self.candidates):
            half = rng.sample(list(pool), (len(pool) + 1) // 2)
            shown = draw_demos(task.predictors[path].spec, half, _EXAMPLES, rng)
            wrong = rng.sample(called, min(_FAILED, len(called)))
            questions.append(
                {
                    "instruction": task.start[path].instruction,
                    "examples": describe_demos(shown) or "none",
                    "failed": describe_rows(wrong, path) or "none",
                }
            )
        answers = await task.ask_all(WriteRules, questions)
        return [clean_instruction(answer.rules) if answer else "" for answer in answers]

    def cost(self, sizes: Sizes) -> Cost:
        runs = sizes.train + _SEEN + 2 * self.candidates * sizes.val
        return Cost(runs, asks=self.candidates * sizes.predictors)

    def settings(self) -> dict[str, Any]:
        return asdict(self)
