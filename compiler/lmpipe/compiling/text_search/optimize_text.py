"""`optimize_text`: search for a text that a function scores, without a program."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

from lmpipe.compiling.compile import acompile
from lmpipe.compiling.recipe import Recipe
from lmpipe.compiling.run import Run
from lmpipe.compiling.text_search.evaluator import (
    Evaluate,
    EvaluationMetric,
    Evaluator,
    EvaluatorLM,
    T,
)
from lmpipe.compiling.text_search.proposing import ImproveOneText, ImproveText
from lmpipe.compiling.text_search.text_program import ONLY, TASK, TextProgram, path_of
from lmpipe.data.example import Example
from lmpipe.data.source import Data, load_examples
from lmpipe.errors import RecipeError
from lmpipe.evaluation.results import Evaluation
from lmpipe.lm.concurrency.loop import blocking
from lmpipe.lm.lm import LM, as_lm
from lmpipe.optimize.by_name import optimizer_named
from lmpipe.optimize.engine.budget import Budget
from lmpipe.optimize.engine.optimizer import Optimizer
from lmpipe.optimize.engine.race_rules import Racing
from lmpipe.optimize.gepa import GEPA
from lmpipe.settings import configured_lm
from lmpipe.state.program_state import ProgramState


@dataclass(frozen=True)
class TextCandidate(Generic[T]):
    """A text, or several by name, that was scored.

    Args:
        text: the text or texts.
        name: how it was made, in a few words.
        evaluation: its scores on the validation examples that it was evaluated on; all of them,
            unless it was dropped because it was behind by more than chance.
    """

    text: T
    name: str
    evaluation: Evaluation

    @property
    def score(self) -> float:
        """The mean of its scores."""
        return self.evaluation.score


@dataclass(frozen=True)
class TextRun(Generic[T]):
    """A finished search for a text.

    Args:
        best: the best text or texts.
        candidates: all that were scored, in order, beginning with the start.
        run: the compile behind it: its test, spend, folder and why it ended.
    """

    best: T
    candidates: tuple[TextCandidate[T], ...]
    run: Run

    @property
    def score(self) -> float:
        """The score of the best on the validation examples."""
        return self.run.best.score

    @property
    def path(self) -> Path:
        """The run folder, for `lmpipe show`, `lmpipe runs` and `lmpipe diff`."""
        return self.run.path

    def __repr__(self) -> str:
        return f"<TextRun {self.path}: {self.run.best.name}, score {self.score:.1%}>"


async def aoptimize_text(
    start: T,
    evaluate: Evaluate[T],
    *,
    train: Data | None = None,
    val: Data | None = None,
    test: Data | None = None,
    objective: str = "",
    proposer: LM | str | None = None,
    optimizer: Optimizer | str = "gepa",
    budget: Budget | None = None,
    racing: Racing | None = Racing(),  # noqa: B008 - frozen
    seed: int = 0,
    name: str = "",
    runs: str | Path = "runs",
    concurrency: int = 64,
    progress: bool | None = None,
) -> TextRun[T]:
    """Search for a text that a function scores best: a prompt, a pattern, a template, code.

    The function is the only judge, so nothing needs to be a program of lmpipe. A search has the
    budget, the seed, the resume, the replay and the run folder of a compile. An evaluation is kept
    like an LM call, known by the texts, the example and the code of the function: a search that is
    resumed or replayed repeats none. In budgets it counts as one call.

    An error of the function is a score of 0 with the error as feedback, and is kept too. An
    `LMUnavailableError` is another try instead, and in the end stops the search, which the same
    call then resumes.

    Source: "optimize_anything" of the `gepa` package, with a text in place of a dict, scores in
    [0, 1], and a single task or rows that are split as those of a compile.

    Args:
        start: the text to begin with, or several texts by name that work together.
        evaluate: returns the score of a text, from 0 to 1, as a number, a boolean or a
            `lmpipe.Score` with feedback, which the proposer reads; its `predictor_feedback` is what
            to say about single texts, by their names. It takes the text, or a mapping of texts,
            and an example if there are any. It may be async; otherwise it runs in threads, several
            at once. One that asks LMs declares it by
            `@lmpipe.metrics.judge(max_calls=…)`; then its LM calls are kept and counted in place
            of its scores.
        train: examples to learn from; None for a single task, of which the text is the solution.
        val: examples to compare texts on; split off from `train` by default.
        test: examples for the one final comparison with the start; None for no test.
        objective: what the text is for and what it must keep to, in words for the proposer.
        proposer: the LM that writes texts, or its name; the configured LM by default.
        optimizer: a search for instructions, or its name. GEPA (`lmpipe[gepa]`) asks for a text,
            not for an instruction, if it has no proposer of its own; by its name, it takes as many
            runs as the budget of calls allows.
        budget: the maximum spend, evaluations and the proposer's calls together.
        racing: when texts that are behind are dropped before all validation examples; None never.
        seed: the seed of all randomness.
        name: the name of the run; by default that of the function.
        runs: the folder to create the run folder in.
        concurrency: the number of evaluations at a time; it does not change the result.
        progress: whether to show progress; see `compile`.

    Raises:
        InputError: if an argument is not valid, or the function returns something else.
        BudgetExhaustedError: if the budget cannot score the start.
        LMError: if the proposer is unavailable or refuses; the same call resumes.
    """
    _check(start, objective, budget)
    rows = _rows(train, val, test)
    given = None if train is None else [row for part in rows.values() for row in part]
    lm = EvaluatorLM(Evaluator(evaluate, given, named=not isinstance(start, str)))
    budget = budget or Budget()
    run = await acompile(
        Recipe(
            program=TextProgram(start, about=objective),
            metric=EvaluationMetric(lm, objective),
            train=rows["train"],
            val=rows.get("val"),
            test=rows.get("test"),
            optimizer=_optimizer(optimizer, start, rows, budget),
            student=lm,
            judge=lm,
            proposer=as_lm(proposer) or configured_lm(),
            budget=budget,
            racing=racing,
            seed=seed,
            train_check=0,
            name=name or lm.evaluator.name,
        ),
        runs=runs,
        concurrency=concurrency,
        progress=progress,
    )
    candidates = tuple(
        TextCandidate(_texts_of(start, item.state), item.name, item.evaluation)
        for item in run.candidates
    )
    return TextRun(_texts_of(start, run.state), candidates, run)


# The same for callers without a running event loop.
optimize_text = blocking(
    aoptimize_text,
    interrupted="the search was stopped; the same call resumes it and repeats no evaluation",
)


def _check(start: Any, objective: Any, budget: Any) -> None:
    """Check what a recipe does not check, or not under these names."""
    if not isinstance(objective, str):
        raise RecipeError(f"objective is {objective!r:.100}: say in words what the text is for")
    if not isinstance(budget, Budget | None):
        raise RecipeError(
            f"budget is {budget!r:.100}: give lmpipe.Budget(…), such as Budget(calls=200)"
        )
    texts = {ONLY: start} if isinstance(start, str) else start
    if not isinstance(texts, Mapping) or not texts:
        raise RecipeError(f"start is {start!r:.100}: give a text, or a dict of texts by name")
    for name, text in texts.items():
        if not isinstance(name, str) or not isinstance(text, str):
            raise RecipeError(f"start has {name!r}: {text!r:.100}: give texts by names")


def _rows(train: Data | None, val: Data | None, test: Data | None) -> dict[str, list[Example]]:
    """Read the examples; a single task has one row of each kind, which tells them apart."""
    if train is None:
        if val is not None or test is not None:
            raise RecipeError("val and test need train: give the examples to learn from")
        return {name: [Example(**{TASK: name}).with_inputs(TASK)] for name in ("train", "val")}
    parts = {"train": train, "val": val, "test": test}
    return {name: load_examples(name, data) for name, data in parts.items() if data is not None}


def _optimizer(
    optimizer: Optimizer | str, start: T, rows: Mapping[str, Sequence[Example]], budget: Budget
) -> Optimizer:
    """Return the optimizer; GEPA asks for a text, and by its name takes what the budget allows."""
    given = optimizer_named(optimizer) if isinstance(optimizer, str) else optimizer
    if not isinstance(given, GEPA):
        return given
    changes: dict[str, Any] = {}
    if given.proposer is None:
        changes["proposer"] = ImproveText if isinstance(start, str) else ImproveOneText
    batch = min(given.batch, len(rows["train"]))
    if given is not optimizer and budget.calls is not None:
        changes["runs"] = _runs_within(budget.calls, rows, batch)
    return dataclasses.replace(given, batch=batch, **changes)


def _runs_within(calls: int, rows: Mapping[str, Sequence[Example]], batch: int) -> int:
    """Return how many runs GEPA may take so that its questions and the test fit beside them."""
    if len(rows["train"]) == 1:
        # A text is run on train and on validation, which is one evaluation; the budget ends it.
        return 2 * calls
    val = len(rows["val"]) if "val" in rows else len(rows["train"]) // 3
    test = min(2 * len(rows.get("test", ())), calls // 2)
    # A proposal that is tested takes the runs of a mini-batch for its parent and for itself.
    return max(1, val + (calls - test - val) * 2 * batch // (2 * batch + 1))


def _texts_of(start: T, state: ProgramState) -> T:
    texts = {path: item.instruction for path, item in state.predictors.items()}
    if isinstance(start, str):
        return texts[ONLY]
    return {name: texts[path_of(name)] for name in start}
