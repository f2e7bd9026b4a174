"""`GEPA`: instructions that evolve by reflection on what went wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from lmpipe.errors import RecipeError
from lmpipe.foundation.checks import check_choice
from lmpipe.optimize.engine.optimizer import Cost, Effort, Sizes, check_settings
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.gepa_components import Components
from lmpipe.optimize.gepa_package import run_gepa
from lmpipe.optimize.gepa_proposer import CustomProposer, check_proposer, proposer_settings
from lmpipe.optimize.gepa_search import SearchSettings
from lmpipe.state.program_state import ProgramState

Choice = Literal["credit", "round_robin", "all"]

# How many candidates should join the pool, and how many steps each of them takes.
_JOINING = {"light": 4, "medium": 8, "heavy": 16}
_STEPS_EACH = 3


@dataclass(frozen=True, kw_only=True)
class GEPA:
    """Evolve instructions: reflect on a few runs, keep what is best on any example, and merge.

    Each step draws candidates that are best on some example, as far as that was seen, and runs
    each of them on mini-batches of training examples, rather those that go wrong. The proposer
    rewrites the instruction of a predictor from those whole runs, the metric's feedback and what
    was tried before. A child joins the pool if it does better on the same examples by more than
    chance. Several children of a parent are merged and tested together first, and so are those
    that were better by too little. Two descendants that changed different texts may be merged. The
    most promising candidate races the best so far on all validation examples once in a while, and
    at the end.

    If no proposal is accepted for a while, the search goes on from a candidate without the lines
    of the declared texts: they may be what holds it back.

    Source: "GEPA: Reflective prompt evolution can outperform reinforcement learning" (arXiv
    2507.19457, algorithms 1 to 4), on the `gepa` package (`lmpipe[gepa]`). It deviates in the test
    of a proposal, where the paper compares sums; in the mini-batches, which the paper draws
    evenly; in the Pareto front, which has training examples too, and leaves out candidates that
    stand out by no more than chance; in validation, where the paper runs each candidate on all
    examples; and in merging what is written for one text.

    Cost: at most `runs` runs of the program, including one validation of the start, and one
    question to the proposer for every `batch` runs beyond that validation.

    Args:
        effort: how many runs: enough for about 4 (`light`), 8 (`medium`) or 16 (`heavy`)
            candidates in the pool, and half as many more for each further predictor.
        runs: the maximum number of runs of the program, in place of an effort.
        batch: the number of training examples in a mini-batch, 1 or more.
        parents: how many candidates a step draws, 1 or more.
        proposals: how many children each of them gets in a step, 1 or more. All of a step are
            written and run at the same time, from different examples, and merged into one.
        merge: whether to merge candidates that changed different texts, at most 5 times.
        components: which text a step changes: rather one whose changes were accepted (`credit`),
            each in turn (`round_robin`), or `all` at once.
        fields: whether the descriptions of fields are changed too; not with `all`.
        prompt_weight: the score, on average, that 1,000 more characters of text must bring; 0 or
            more.
        proposer: writes the texts in place of the default questions: a function of a `Reflection`,
            sync or async, that returns a text or None; or a signature with one output and inputs
            among `program`, `step`, `instruction`, `cases` and `tried`, for instructions.

    Raises:
        RecipeError: if a setting is out of range, or the proposer's signature has other fields.
        ConfigError: when it is run, if the gepa package is not installed.
    """

    effort: Effort = "light"
    runs: int | None = None
    batch: int = 3
    parents: int = 1
    proposals: int = 1
    merge: bool = True
    components: Choice = "credit"
    fields: bool = False
    prompt_weight: float = 0.0
    proposer: CustomProposer | None = None
    name: str = "gepa"

    def __post_init__(self) -> None:
        check_choice("GEPA", "effort", self.effort, get_args(Effort), error=RecipeError)
        check_choice("GEPA", "components", self.components, get_args(Choice), error=RecipeError)
        check_settings(self, "runs", minimum=1, integer=True, optional=True)
        check_settings(self, "batch", "parents", "proposals", minimum=1, integer=True)
        check_settings(self, "prompt_weight", minimum=0)
        check_proposer(self.proposer)
        if self.fields and self.components == "all":
            raise RecipeError(
                "GEPA(fields=True, components='all'): one description is changed at a time: "
                "choose components='credit' or 'round_robin'"
            )

    async def optimize(self, task: Task) -> ProgramState:
        sizes = Sizes(len(task.train), len(task.val), len(task.predictors))
        settings = SearchSettings(
            batch=self._batch_size(sizes),
            runs=self._max_runs(sizes),
            asks=self.cost(sizes).asks,
            parents=self.parents,
            proposals=self.proposals,
            changes=self._changes(sizes),
            prompt_weight=self.prompt_weight,
            proposer=self.proposer,
        )
        components = Components.of(task.predictors, task.start, fields=self.fields)
        await run_gepa(
            task,
            settings,
            components,
            merge=self.merge and len(components.every) > 1,
            choice=self.components,
        )
        return task.best.state

    def settings(self) -> dict[str, Any]:
        # The proposer may hold what cannot be copied, such as a client.
        return {**vars(self), "proposer": proposer_settings(self.proposer)}

    def cost(self, sizes: Sizes) -> Cost:
        runs = self._max_runs(sizes)
        reflections = max(0, -(-(runs - sizes.val) // max(1, self._batch_size(sizes))))
        return Cost(max(runs, sizes.val), asks=reflections * self._changes(sizes))

    def _changes(self, sizes: Sizes) -> int:
        """Return how many texts a child changes."""
        return sizes.predictors if self.components == "all" else 1

    def _batch_size(self, sizes: Sizes) -> int:
        return min(self.batch, sizes.train)

    def _max_runs(self, sizes: Sizes) -> int:
        if self.runs is not None:
            return self.runs
        joining = math.ceil(_JOINING[self.effort] * (1 + sizes.predictors) / 2)
        return sizes.val + joining * (sizes.val + _STEPS_EACH * 2 * self.batch)
