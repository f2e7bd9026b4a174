"""After the search: test the result against the baselines, and score it on train."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from operator import sub
from typing import TypeVar

from lmpipe.compiling.difference import Difference
from lmpipe.compiling.plan import baselines
from lmpipe.compiling.recipe import PreparedRecipe
from lmpipe.compiling.run import TestResult
from lmpipe.data.example import Example, jsonable
from lmpipe.errors import BudgetExhaustedError
from lmpipe.evaluation.results import Evaluation, Row
from lmpipe.foundation.canonical_json import canonical_json
from lmpipe.foundation.statistics import paired_interval
from lmpipe.lm.spend import Spend
from lmpipe.optimize.engine.budget import Ledger
from lmpipe.optimize.engine.objectives import Objectives
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.engine.worst_case import worst_run
from lmpipe.state.program_state import ProgramState, to_plain

T = TypeVar("T")

# A score on fewer examples is not informative.
MIN_EXAMPLES = 8


async def run_test(
    task: Task, prepared: PreparedRecipe, ledger: Ledger, *, concurrency: int
) -> tuple[TestResult | None, str]:
    """Run the final test, if there is one; return it, and why it is missing or incomplete."""
    if not prepared.test:
        return None, ""
    try:
        test = await _test(task, prepared, ledger, concurrency)
    except BudgetExhaustedError as error:
        task.note("budget exhausted", message=str(error))
        return None, f"{error}; the test was skipped"
    tested = len(test.evaluations["compiled"].rows)
    if tested < len(prepared.test):
        return test, f"; only {tested} of {len(prepared.test)} examples were tested"
    return test, ""


async def _test(
    task: Task, prepared: PreparedRecipe, ledger: Ledger, concurrency: int
) -> TestResult:
    """Test the baselines and the result on the same examples, as many as the budget allows.

    If it limits time, a block has no more examples than run at once, so that the blocks before the
    last one count when the time is over.
    """
    task.progress.phase = "test"
    states = {**baselines(task.program), "compiled": task.best.state}
    distinct = {item.hash: (name, item) for name, item in reversed(states.items())}
    worst = sum((worst_of(task, prepared, item) for _, item in distinct.values()), Spend())
    rows: dict[str, list[Row]] = {key: [] for key in distinct}
    most = len(prepared.test) if ledger.budget.seconds is None else concurrency
    for first, block in blocks_that_fit(prepared.test, worst, ledger, most):
        new: dict[str, Sequence[Row]] = {}
        try:
            for key, (name, item) in reversed(distinct.items()):
                new[key] = (await task.test(f"test {name}", item, block, first=first)).rows
        except BudgetExhaustedError as error:
            if not first:
                raise
            task.note("budget exhausted", message=str(error))
            break
        for key, found in new.items():
            rows[key] += found
    by_state = {key: Evaluation(tuple(tested)) for key, tested in rows.items()}
    evaluations = {name: by_state[item.hash] for name, item in states.items()}
    return compare(evaluations, prepared.objectives)


def compare(
    evaluations: Mapping[str, Evaluation], objectives: Objectives | None = None
) -> TestResult:
    """Compare `compiled` with the better of the other evaluations, on the same examples."""
    values = {name: found.values for name, found in evaluations.items()}
    weighted = values
    if objectives is not None:
        weigh = objectives.weighted_score
        weighted = {name: tuple(map(weigh, found.rows)) for name, found in evaluations.items()}
    names = [name for name in evaluations if name != "compiled"]
    baseline = max(names, key=lambda name: sum(weighted[name]))
    differences = list(map(sub, values["compiled"], values[baseline]))
    difference = sum(differences) / len(differences)
    tested = TestResult(evaluations, baseline, difference, paired_interval(differences))
    if objectives is None:
        return tested
    return replace(tested, weighted=Difference.between(weighted["compiled"], weighted[baseline]))


async def score_on_train(
    task: Task, prepared: PreparedRecipe, ledger: Ledger
) -> tuple[Evaluation | None, str]:
    """Score the result on training examples; return the score, or why it is missing.

    Examples in its fixed demonstrations are left out: their runs are not shown those, and so would
    not tell how good the whole prompt is.
    """
    state, most = task.best.state, prepared.recipe.train_check
    drawn = task.rng("train check").sample(prepared.train, len(prepared.train))
    examples = [example for example in drawn if not is_shown(example, state)][:most]
    if not examples:
        return None, ""
    task.progress.phase = "train"
    worst = worst_of(task, prepared, state)
    room = ledger.room(worst)
    if room is not None and room < min(MIN_EXAMPLES, len(examples)):
        note = "the budget was too small to score the result on training examples"
        task.note("train score skipped", message=note)
        return None, note
    rows: list[Row] = []
    try:
        for first, block in blocks_that_fit(examples, worst, ledger, len(examples)):
            rows += (await task.test("train", state, block, first=first)).rows
    except BudgetExhaustedError as error:
        task.note("train score skipped", message=str(error))
        return None, f"{error}; the result was not scored on training examples"
    return Evaluation(tuple(rows)), ""


def is_shown(example: Example, state: ProgramState) -> bool:
    """Whether an example's inputs are among the fixed demonstrations of a state."""
    inputs = canonical_json(jsonable(example.inputs))
    for learned in state.predictors.values():
        for demo in learned.demos:
            shown = {name: demo.inputs[name] for name in example.inputs if name in demo.inputs}
            if canonical_json(to_plain(shown)) == inputs:
                return True
    return False


def worst_of(task: Task, prepared: PreparedRecipe, state: ProgramState) -> Spend:
    """The maximum spend of one run with a state, and of its metric."""
    lms, metric = prepared.lms, prepared.recipe.metric
    return worst_run(task.program.bind(state), [lms.student], metric, lms.judge, lms.embedder)


def blocks_that_fit(
    examples: Sequence[T], worst: Spend, ledger: Ledger, most: int
) -> Iterator[tuple[int, Sequence[T]]]:
    """Yield as many examples as the budget allows, in blocks with the position of their first.

    `most` is the maximum number of examples in a block.

    Raises:
        BudgetExhaustedError: if the budget allows none.
    """
    done = 0
    # Runs usually cost less than their worst case, so after a block the budget may allow more.
    while done < len(examples) and (block := examples[done:][:most][: ledger.room(worst)]):
        yield done, block
        done += len(block)
    if not done:
        raise BudgetExhaustedError(ledger.shortfall(worst))
