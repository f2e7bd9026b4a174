"""After the final test: take the result apart, to tell which of its parts did it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lmpipe.compiling.ablation import MOST_EXAMPLES, AblatedPart, Ablation, Effect
from lmpipe.compiling.final_test import MIN_EXAMPLES, blocks_that_fit, worst_of
from lmpipe.compiling.recipe import PreparedRecipe
from lmpipe.compiling.state_parts import StatePart, parts_of
from lmpipe.errors import BudgetExhaustedError, CallError, LMRequestError, MetricError
from lmpipe.evaluation.results import Evaluation
from lmpipe.foundation.plural import plural
from lmpipe.lm.spend import Spend
from lmpipe.optimize.engine.budget import Ledger
from lmpipe.optimize.engine.task import Task
from lmpipe.state.program_state import ProgramState


async def take_apart(
    task: Task, prepared: PreparedRecipe, ledger: Ledger, *, concurrency: int
) -> Ablation | None:
    """Score the result without each of its parts, and the declared program with each one alone.

    Both on up to 100 validation examples, as many as the rest of the budget allows, the same ones
    for all parts. Rows that the search knows are not run again, and the states do not become
    candidates.

    Returns:
        What each part adds; None if the recipe wants no ablation, or the result is the program as
        declared.
    """
    declared, best = task.program.state(), task.best
    parts = parts_of(best.state, declared, task.predictors, task.rng)
    if not prepared.recipe.ablation or not parts:
        return None
    task.progress.phase = "ablation"
    every = range(len(task.val))
    examples = task.rng("ablation").sample(every, min(len(every), MOST_EXAMPLES))
    scoring = _Scoring(task, prepared, ledger, concurrency, examples)
    # The budget may have ended before the result met all examples.
    whole_and_rest = {"whole": best.state, **{f"without {p.name}": p.without for p in parts}}
    removed, missing = await scoring.run(whole_and_rest)
    alone = {f"{part.name} alone": part.alone for part in parts if part.alone is not None}
    added = 0
    if not missing and len(parts) > 1 and alone:
        added, missing = await scoring.run({"as declared": declared, **alone})
        missing = missing and f"parts alone: {missing}"
    if missing:
        task.note("ablation incomplete", message=missing)
    if not removed:
        return Ablation(best.score, (), missing)
    whole = scoring.evaluation(best.state, removed)
    return Ablation(
        whole.score,
        tuple(_ablated(part, whole, declared, scoring, removed, added) for part in parts),
        missing,
    )


@dataclass(frozen=True)
class _Scoring:
    """Scores states on the same validation examples, whose positions are in a random order."""

    task: Task
    prepared: PreparedRecipe
    ledger: Ledger
    concurrency: int
    examples: Sequence[int]

    async def run(self, states: Mapping[str, ProgramState]) -> tuple[int, str]:
        """Score states, given by name, on as many examples as the budget allows.

        Returns:
            How many of the first examples all states were run on, 0 if they are too few to tell
            anything, and why not on all of them.
        """
        every, done = len(self.examples), 0
        least = min(MIN_EXAMPLES, every)
        new = [item for item in dict.fromkeys(states.values()) if not self._knows(item)]
        worst = sum((worst_of(self.task, self.prepared, item) for item in new), Spend())
        room = self.ledger.room(worst)
        if room is not None and room < least:
            return 0, self.ledger.shortfall(worst * least)
        # If time is limited, the blocks before the last one count when it is over.
        most = every if self.ledger.budget.seconds is None else self.concurrency
        try:
            for first, block in blocks_that_fit(self.examples, worst, self.ledger, most):
                for name, state in states.items():
                    pairs = [(state, index) for index in block]
                    await self.task.peek(pairs, subject=f"ablation {name}")
                done = first + len(block)
        except (BudgetExhaustedError, LMRequestError, MetricError, CallError) as error:
            # The compile is done: a state that cannot be scored does not make it fail.
            return done if done >= least else 0, str(error)
        if done < every:
            return done, f"the budget allowed {done} of {plural(every, 'example')}"
        return done, ""

    def evaluation(self, state: ProgramState, count: int) -> Evaluation:
        """Return the rows of a state on the first examples."""
        rows = self.task.known(state)
        return Evaluation(tuple(rows[index] for index in self.examples[:count]))

    def _knows(self, state: ProgramState) -> bool:
        return set(self.examples) <= set(self.task.known(state))


def _ablated(
    part: StatePart,
    whole: Evaluation,
    declared: ProgramState,
    scoring: _Scoring,
    removed: int,
    added: int,
) -> AblatedPart:
    """Compare on the first `removed` examples, and the part alone on the first `added` ones."""
    rest, alone = scoring.evaluation(part.without, removed), None
    objectives = scoring.prepared.objectives
    if added and part.alone is not None:
        alone = Effect.between(
            present=scoring.evaluation(part.alone, added),
            absent=scoring.evaluation(declared, added),
            alone=True,
            objectives=objectives,
        )
    without = Effect.between(whole, rest, objectives=objectives)
    return AblatedPart(part.name, part.learned, without, alone)
