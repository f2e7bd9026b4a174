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

# The number of training examples that a state is run on in search of failures.
_FAILURE_RUNS = 8
# So many rollouts that pass are enough.
_ENOUGH_PASSED = 16


class WriteRules(Signature):
    """Find the rules by which the outputs of these examples follow from their inputs.

    Write them as a short list that somebody could apply to new inputs: one rule in each line, the
    most important first. Rules must be true of all examples, and say what the instruction does not
    say yet; what went wrong in the failed runs should not happen to one who follows them.
    """

    instruction: str = Input(desc="what the step is told now")
    examples: str = Input(desc="inputs with right outputs")
    failed: str = Input(desc="runs that went wrong, and why")
    most: int = Input(desc="the maximum number of rules")
    rules: str = Output(desc="the rules, one in each line")


@dataclass(frozen=True, kw_only=True)
class InferRules(DataclassSettings):
    """Let the proposer infer rules from the examples, and add them to the instructions.

    The rules of each candidate come from another half of the labeled and bootstrapped
    demonstrations, and from other failed runs. Each set of rules races both with and without
    demonstrations; after each block of validation examples the worse half drops out. Each round
    adds rules to the best instructions so far.

    Source: DSPy's InferRules, which has no paper; instructions from examples are those of Honovich
    et al., "Instruction induction" (arXiv 2205.10782, section 2). Deviations: each candidate is
    shown half of the examples, and failed runs; there are several rounds (one, as in DSPy, with
    `proposal_rounds=1`); rules also race without demonstrations, and by halves.

    Cost: one run of the program for each training example, 8 more for each round, and
    `2 * candidates` runs for each validation example; `candidates` questions to the proposer for
    each predictor.

    Args:
        candidates: the number of sets of rules for each predictor, of all rounds, 1 or more.
        proposal_rounds: the number of rounds, 1 or more.
        rules: the maximum number of rules in a set, 1 or more.
        demos: the number of demonstrations that half of the candidates show, 1 or more.
        threshold: the score from which a rollout passes, 0 to 1.

    Raises:
        RecipeError: if a number is out of range.
    """

    candidates: int = 9
    proposal_rounds: int = 3
    rules: int = 10
    demos: int = 4
    threshold: float = 1.0
    name: str = "infer-rules"

    def __post_init__(self) -> None:
        counts = ("candidates", "proposal_rounds", "rules", "demos")
        check_settings(self, *counts, minimum=1, integer=True)
        check_settings(self, "threshold", minimum=0, maximum=1)

    async def optimize(self, task: Task) -> ProgramState:
        rng = task.rng("rules")
        pools = await self._pools(task, rng)
        base, made = task.start, 0
        for count in self._portions():
            ruled = await self._ruled(task, base, pools, count, rng)
            entries = []
            for number, state in enumerate(ruled, start=made + 1):
                rules = f"rules {number}" if state != base else "no new rules"
                shown = with_demos(state, draw_from_pools(task, pools, self.demos, rng))
                entries += [(rules, state)] if state != base else []
                entries += [(f"{rules}, {demos_words(shown)}", shown)] if shown != state else []
            made += count
            raced = await task.race(entries, halve=True)
            base = _best_rules(task, base, [candidate.state for candidate in raced])
        return task.best.state

    async def _ruled(
        self,
        task: Task,
        base: ProgramState,
        pools: Mapping[str, Sequence[Demo]],
        count: int,
        rng: random.Random,
    ) -> list[ProgramState]:
        """Return states with new rules; one without any is the state to improve itself."""
        examples = rng.sample(task.train, min(_FAILURE_RUNS, len(task.train)))
        (tried,) = await task.trial([base], examples)
        failed = [row for row in tried.rows if row.score.value < 1]
        ruled = [base] * count
        for path, pool in pools.items():
            found = await self._rules(task, base, path, pool, failed, count, rng)
            for number, rules in enumerate(found):
                old = base[path].instruction
                new = [line for line in rules.splitlines() if line.strip() not in old]
                if any(new):
                    text = "\n".join([f"{old}\n", *new])
                    ruled[number] = with_instruction(ruled[number], path, text)
        return ruled

    async def _pools(self, task: Task, rng: random.Random) -> Mapping[str, Sequence[Demo]]:
        """Return demonstrations from passed rollouts and labeled examples, by predictor path."""
        collector = BootstrapFewShot(threshold=self.threshold)
        passed = await collector.labeled_teacher_rollouts(task, rng, enough=_ENOUGH_PASSED)
        labeled = labeled_demos(task.predictors, task.train)
        return merge_pools(bootstrapped_demos(passed, rng), labeled)

    async def _rules(
        self,
        task: Task,
        base: ProgramState,
        path: str,
        pool: Sequence[Demo],
        failed: Sequence[Row],
        count: int,
        rng: random.Random,
    ) -> list[str]:
        """Ask for a predictor's rules, once for each candidate; unparseable ones are empty."""
        spec = task.predictors[path].spec
        called = [row for row in failed if row.trace.of(path)]
        questions = []
        for _ in range(count):
            half = (len(pool) + 1) // 2
            wrong = rng.sample(called, (len(called) + 1) // 2)
            questions.append(
                {
                    "instruction": base[path].instruction,
                    "examples": describe_demos(draw_demos(spec, pool, half, rng)),
                    "failed": describe_rows(wrong, path, task.predictors),
                    "most": self.rules,
                }
            )
        answers = await task.ask_all(WriteRules, questions)
        return [clean_instruction(answer.rules) if answer else "" for answer in answers]

    def _portions(self) -> list[int]:
        """Return the number of candidates of each round."""
        rounds = min(self.proposal_rounds, self.candidates)
        extra = self.candidates % rounds
        return [self.candidates // rounds + (number < extra) for number in range(rounds)]

    def cost(self, sizes: Sizes) -> Cost:
        failures = len(self._portions()) * min(_FAILURE_RUNS, sizes.train)
        runs = sizes.train + failures + 2 * self.candidates * sizes.val
        return Cost(runs, asks=self.candidates * sizes.predictors)


def _best_rules(task: Task, base: ProgramState, raced: Sequence[ProgramState]) -> ProgramState:
    """Return the start with the best instructions so far, of equal ones those of this round."""
    scores = {one.state: one.weighted_score for one in task.candidates if one.complete}
    least = min([0.0, *scores.values()])  # objectives may take more than the whole score
    best = max([base, *raced], key=lambda state: (scores.get(state, least), state != base))
    texts = {path: best[path].instruction for path in task.predictors}
    return task.start.update(
        {path: task.start[path].replace(instruction=text) for path, text in texts.items()}
    )
