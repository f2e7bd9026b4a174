"""`InferRules`: rules in words, inferred from examples and added to the instructions."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lmpipe.evaluation.results import Row
from lmpipe.optimize.bootstrap_few_shot import BootstrapFewShot
from lmpipe.optimize.engine.optimizer import Cost, DataclassSettings, Sizes, check_settings
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.shared.candidate_names import demos_words
from lmpipe.optimize.shared.draw_demos import (
    bootstrapped_demos,
    draw_demos,
    draw_from_pools,
    labeled_demos,
    merge_pools,
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

# One question shows this many examples and failed runs, or fewer if they do not fit.
_EXAMPLES_SHOWN, _FAILURES_SHOWN = 8, 3
# The number of training examples that the program is run on in search of failures.
_FAILURE_RUNS = 8


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
class InferRules(DataclassSettings):
    """Let the proposer infer rules from the examples, and add them to the instructions.

    The rules of each candidate come from another half of the labeled and bootstrapped
    demonstrations, and from other failed runs. Each set of rules races both with and without
    demonstrations.

    Source: DSPy's InferRules, which has no paper; instructions from examples are those of Honovich
    et al., "Instruction induction" (arXiv 2205.10782, section 2).

    Cost: one run of the program for each training example, 8 more, and `2 * candidates` runs for
    each validation example; `candidates` questions to the proposer for each predictor.

    Args:
        candidates: the number of sets of rules for each predictor, 1 or more.
        demos: the number of demonstrations that half of the candidates show, 1 or more.
        threshold: the score from which a rollout passes, 0 to 1.

    Raises:
        RecipeError: if a number is out of range.
    """

    candidates: int = 5
    demos: int = 4
    threshold: float = 1.0
    name: str = "infer-rules"

    def __post_init__(self) -> None:
        check_settings(self, "candidates", "demos", minimum=1, integer=True)
        check_settings(self, "threshold", minimum=0, maximum=1)

    async def optimize(self, task: Task) -> ProgramState:
        rng = task.rng("rules")
        pools = await self._pools(task, rng)
        examples = rng.sample(task.train, min(_FAILURE_RUNS, len(task.train)))
        (tried,) = await task.trial([task.start], examples)
        failed = [row for row in tried.rows if row.score.value < 1]
        ruled = [task.start] * self.candidates
        for path, pool in pools.items():
            for number, rules in enumerate(await self._rules(task, path, pool, failed, rng)):
                if rules:
                    old = task.start[path].instruction
                    ruled[number] = with_instruction(ruled[number], path, f"{old}\n\n{rules}")
        entries = []
        for number, state in enumerate(ruled, start=1):
            drawn = draw_from_pools(task, pools, self.demos, rng)
            rules = f"rules {number}" if state != task.start else "no rules"
            if state != task.start:
                entries.append((rules, state))
            if drawn:
                shown = with_demos(state, drawn)
                entries.append((f"{rules}, {demos_words(shown)}", shown))
        await task.race(entries)
        return task.best.state

    async def _pools(self, task: Task, rng: random.Random) -> Mapping[str, Sequence[Demo]]:
        """Return demonstrations from passed rollouts and labeled examples, by predictor path."""
        collector = BootstrapFewShot(threshold=self.threshold)
        passed = await collector.labeled_teacher_rollouts(task, rng, enough=2 * _EXAMPLES_SHOWN)
        labeled = labeled_demos(task.predictors, task.train)
        return merge_pools(bootstrapped_demos(passed, rng), labeled)

    async def _rules(
        self, task: Task, path: str, pool: Sequence[Demo], failed: Sequence[Row], rng: random.Random
    ) -> list[str]:
        """Ask for a predictor's rules, once for each candidate; unparseable ones are empty."""
        called = [row for row in failed if row.trace.of(path)]
        questions = []
        for _ in range(self.candidates):
            half = rng.sample(list(pool), (len(pool) + 1) // 2)
            shown = draw_demos(task.predictors[path].spec, half, _EXAMPLES_SHOWN, rng)
            wrong = rng.sample(called, min(_FAILURES_SHOWN, len(called)))
            questions.append(
                {
                    "instruction": task.start[path].instruction,
                    "examples": describe_demos(shown),
                    "failed": describe_rows(wrong, path, task.predictors),
                }
            )
        answers = await task.ask_all(WriteRules, questions)
        return [clean_instruction(answer.rules) if answer else "" for answer in answers]

    def cost(self, sizes: Sizes) -> Cost:
        runs = sizes.train + _FAILURE_RUNS + 2 * self.candidates * sizes.val
        return Cost(runs, asks=self.candidates * sizes.predictors)
