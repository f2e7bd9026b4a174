"""Check a recipe and its program without asking an LM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lmpipe.compiling.metric_trial import try_metric
from lmpipe.compiling.program_check.code_problems import code_problems
from lmpipe.compiling.program_check.problem import Problem
from lmpipe.compiling.program_check.prompts import (
    PredictorCheck,
    check_predictors,
    context_problems,
)
from lmpipe.compiling.program_check.recipe_problems import (
    data_problems,
    metric_problems,
    read_splits,
    tool_problems,
)
from lmpipe.compiling.recipe import Recipe, prepare
from lmpipe.compiling.recipe_checks import check_returns
from lmpipe.errors import InputError, RecipeError
from lmpipe.lm.concurrency import loop
from lmpipe.lm.lm import LM
from lmpipe.metrics import metric_name
from lmpipe.modules.binding import uncounted_uses
from lmpipe.modules.declared import declared_program
from lmpipe.modules.module import Module, Predictor, check_program
from lmpipe.settings import configured_lm


@dataclass(frozen=True)
class ProgramCheck:
    """What is known of a program without asking an LM.

    Args:
        name: the recipe's name.
        program: the class of the program.
        calls_per_run: the maximum number of LM calls of one run.
        examples: the number of examples of each split.
        predictors: the predictors, with their prompts.
        problems: what is wrong.
    """

    name: str
    program: str
    calls_per_run: int
    examples: dict[str, int]
    predictors: tuple[PredictorCheck, ...]
    problems: tuple[Problem, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "program": self.program,
            "calls_per_run": self.calls_per_run,
            "examples": self.examples,
            "predictors": [item.to_json() for item in self.predictors],
            "problems": [item.to_json() for item in self.problems],
        }


def check_recipe(recipe: Recipe) -> ProgramCheck:
    """Check a recipe and its program; no LM is asked, and no predictor run.

    Raises:
        RecipeError: if the program is none.
    """
    program = recipe.program
    check_program(program, RecipeError)
    splits, problems = read_splits(recipe)
    rows = [row for split in splits.values() for row in split]
    predictors = check_predictors(program, rows, _lms(recipe))
    problems = [
        *_of_program(program),
        *code_problems(program),
        *tool_problems(program),
        *problems,
        *data_problems(program, splits),
        *metric_problems(recipe.metric, program, splits),
        *context_problems(predictors),
    ]
    return ProgramCheck(
        recipe.name,
        type(declared_program(program)).__name__,
        program.calls_per_run(),
        {name: len(split) for name, split in splits.items()},
        tuple(predictors),
        # The rest would tell of the same in other words.
        tuple(problems or _of_recipe(recipe)),
    )


def _lms(recipe: Recipe) -> list[LM]:
    """The LMs that run the program: the student, and a teacher that is another one."""
    student = recipe.student or configured_lm()
    return list(dict.fromkeys([student, recipe.teacher or student]))


def _of_program(program: Module) -> list[Problem]:
    name = type(declared_program(program)).__name__
    if not program.predictors():
        return [
            Problem(
                "program",
                name,
                "has no predictors: assign them in __init__, as in self.answer = lmpipe.Predict(…)",
            )
        ]
    problems = []
    try:
        check_returns(program)
    except RecipeError as error:
        problems.append(Problem("program", name, str(error)))
    for part in uncounted_uses(program, Predictor):
        problems.append(
            Problem(
                "program",
                name,
                f"uses {part} in a loop whose length is up to the data, so that budgets cannot "
                "count its calls: set `max_calls = …` on the class",
            )
        )
    return problems


def _of_recipe(recipe: Recipe) -> list[Problem]:
    """Find what a compile would refuse before its first call, and what its metric does."""
    try:
        warning = loop.run_sync(try_metric(prepare(recipe)))
    except InputError as error:
        return [Problem("recipe", recipe.name, str(error))]
    return [Problem("metric", metric_name(recipe.metric), warning)] if warning else []
