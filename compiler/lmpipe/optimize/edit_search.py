"""`EditSearch`: a few edits of an instruction's lines at a time, behind a held-out gate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import get_args

from lmpipe.errors import RecipeError
from lmpipe.foundation.checks import check_choice
from lmpipe.optimize.edit_search_steps import EditSettings, EditSteps
from lmpipe.optimize.engine.optimizer import Cost, DataclassSettings, Effort, Sizes, check_settings
from lmpipe.optimize.engine.task import Task
from lmpipe.state.program_state import ProgramState

# The number of steps, and how many steps there are for each validation of a state.
_STEPS = {"light": 6, "medium": 12, "heavy": 24}
_STEPS_PER_VALIDATION = 4
# About as many validation examples as a step runs.
_BLOCK = 10
# There are at least so many runs of the program for each question.
_RUNS_PER_ASK = 2


@dataclass(frozen=True, kw_only=True)
class EditSearch(DataclassSettings):
    """Edit a few lines of the instructions at a time, and keep what holds on other examples.

    Each step runs the program on a batch of training examples, rather those that go wrong, and
    chooses the predictor at fault: that of a failed step, of a failed check or of the metric's
    feedback on it, else rather one whose edits were accepted. Several questions at once show the
    proposer some of the runs each, with the numbered lines of the predictor's instruction and
    with earlier edits and what became of them; it adds, replaces or deletes lines. The edits of
    all questions are applied together, those of several questions first. An edit that cannot be
    applied is refused alone, and the proposer is told why.

    The edited state must do better than the one before on the same training examples by more than
    chance, among them some that were right, and must not be behind it on a block of validation
    examples that no question shows. A race on all validation examples, once in a while and at the
    end, is the last gate: if the state is not strictly better than the best so far, the search
    goes back to that one. A predictor gets half of `edits` at first; half as many after a
    rejected step, and twice as many after an accepted one. If nothing is accepted for a while,
    the search goes on once without the lines of the declared instructions: they may be what holds
    it back. It starts from the best candidate so far.

    It suits long instructions that consist of many rules, and metrics that can say what is wrong.

    Source: "SkillOpt: Executive strategy for self-evolving agent skills" (arXiv 2605.23904,
    section 3). It deviates in the gate, where the paper compares means of all validation examples
    after each step; in the number of edits, which the paper decreases by a schedule; and in the
    order of edits, which the paper asks an LM for. It reflects on what goes wrong only, and has no
    slow update at the end of an epoch: lines that no edit names stay as they are, and what was
    accepted is shown with what was rejected.

    Cost: at most `runs` runs of the program, including one validation of the start, and one
    question to the proposer for every two runs beyond that validation; for every one, if a
    question shows one run.

    Args:
        effort: how many runs: enough for about 6 (`light`), 12 (`medium`) or 24 (`heavy`) steps,
            and half as many more for each further predictor.
        runs: the maximum number of runs of the program, in place of an effort.
        edits: the maximum number of edits in a step, 1 or more.
        batch: the number of training examples of a step with so many edits, 1 or more.
        cases: the number of runs that a question shows, 1 or more.
        prompt_weight: the score, on average, that 1,000 more characters of instructions must
            bring; 0 or more.

    Raises:
        RecipeError: if a setting is out of range.
    """

    effort: Effort = "light"
    runs: int | None = None
    edits: int = 16
    batch: int = 24
    cases: int = 2
    prompt_weight: float = 0.0
    name: str = "edit-search"

    def __post_init__(self) -> None:
        check_choice("EditSearch", "effort", self.effort, get_args(Effort), error=RecipeError)
        check_settings(self, "runs", minimum=1, integer=True, optional=True)
        check_settings(self, "edits", "batch", "cases", minimum=1, integer=True)
        check_settings(self, "prompt_weight", minimum=0)

    async def optimize(self, task: Task) -> ProgramState:
        sizes = Sizes(len(task.train), len(task.val), len(task.predictors))
        if not task.scored:
            await task.evaluate(task.start, name="as declared")
        search = EditSteps(
            task,
            EditSettings(
                edits=self.edits,
                batch=self._batch_size(sizes),
                cases=self.cases,
                runs=self._max_runs(sizes),
                asks=self.cost(sizes).asks,
                prompt_weight=self.prompt_weight,
            ),
        )
        while not search.ended:
            step = await search.reflect(await search.rollout())
            if step is not None:
                accepted = await search.test(step) and await search.hold_out(step)
                search.learn(step, accepted=accepted)
            await search.gate()
            await search.start_anew()
        await search.gate(last=True)
        return task.best.state

    def cost(self, sizes: Sizes) -> Cost:
        runs = self._max_runs(sizes)
        return Cost(
            max(runs, sizes.val),
            asks=max(0, -(-(runs - sizes.val) // min(self.cases, _RUNS_PER_ASK))),
        )

    def _batch_size(self, sizes: Sizes) -> int:
        return min(self.batch, sizes.train)

    def _max_runs(self, sizes: Sizes) -> int:
        if self.runs is not None:
            return self.runs
        steps = math.ceil(_STEPS[self.effort] * (1 + sizes.predictors) / 2)
        validations = 2 + steps // _STEPS_PER_VALIDATION
        return validations * sizes.val + steps * (self.batch + _BLOCK)
