"""`Auto`: a portfolio of optimizers under one budget, for users who do not want to choose."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, get_args

from lmpipe.errors import RecipeError
from lmpipe.foundation.checks import check_choice
from lmpipe.optimize.auto_combinations import combinations
from lmpipe.optimize.auto_proposer import TRIAL_ASKS, TRIAL_RUNS, try_proposer
from lmpipe.optimize.auto_stages import Stages, worth_of
from lmpipe.optimize.edit_search import EditSearch
from lmpipe.optimize.engine.optimizer import Cost, Effort, Optimizer, Sizes, check_optimizer
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.finetune import BootstrapFinetune
from lmpipe.optimize.gepa import GEPA
from lmpipe.optimize.knn_few_shot import KNNFewShot
from lmpipe.optimize.layout_search import LayoutSearch
from lmpipe.optimize.random_search import RandomSearch
from lmpipe.optimize.shared.draw_demos import labeled_demos
from lmpipe.state.program_state import ProgramState

# How often every example may be run: 6 times each validation example, once each training example.
_TIMES = {"light": 2, "medium": 4, "heavy": 8}
# A kind of search that found nothing better so often in a row gets no more runs.
_FRUITLESS = 2
# No search is split into more parts than this.
_MOST_SEARCHES = 12
# What the first search for instructions gets, after demonstrations have gained, and else.
_UNTRIED_AFTER_GAIN, _UNTRIED = 0.25, 0.8
# With fewer runs for each validation example, nothing is left for a search of another kind.
_FOR_TWO = 5
# The two kinds of search between which the budget is spread.
_DEMONSTRATIONS, _INSTRUCTIONS = "demonstrations", "instructions"
# Racing leaves about this much of the runs of a random search undone.
_RACED = 0.6
_ROLLOUTS = 32  # what a random search usually takes to find demonstrations in runs that passed
_FEWEST_WITH_ROLLOUTS, _MOST_CANDIDATES = 4, 24
# GEPA asks its proposer about once for so many runs.
_RUNS_PER_ASK = 10
# The runs of a few steps, without which a search would only validate its start.
_STEPS = 50


@dataclass(frozen=True, kw_only=True)
class Auto:
    """Find out what helps on this task, and spend the budget on that.

    First looks come first: at prompt layouts, with and without constrained outputs, and at nearest
    and fixed demonstrations. They race by knockout, so that what helps shows for few runs. A few
    trial questions find out whether the proposer can write. Then the budget is spread in shares
    between searches for demonstrations (`RandomSearch`) and for instructions (`GEPA`, or
    `EditSearch` without the gepa package). Next is the kind that gained most per run the last time;
    after a gain of the other kind, it gets the part of what is left that its rate has of both. A
    kind none of whose candidates may gain by the race's intervals comes last, and one that found
    nothing better twice in a row gets no more. At the end, the best state is raced with single
    parts of other good candidates, and weights are trained if the recipe names a trainer. Every
    stage starts from the best state so far.

    The run's events, `report.html` and `lmpipe show` say what each stage gained, what it took, and
    why others were left out.

    Source: first looks are successive halving (Jamieson and Talwalkar, AISTATS 2016; Hyperband,
    arXiv 1603.06560). The shares follow the idea of portfolios that learn while they run (Gagliolo
    and Schmidhuber, "Learning dynamic algorithm portfolios", 2006). They deviate in that a share is
    one whole search, which starts from the best state of all.

    Cost: at most 12 (`light`), 24 (`medium`) or 48 (`heavy`) runs of the program for each
    validation example, and 2, 4 or 8 for each training example; one question to the proposer for
    every 2 of them; and the cost of `weights` if the recipe names a trainer.

    Args:
        effort: the most that it does; None is `light` in a compile without a budget, and `heavy` in
            one with a budget, which it spreads.
        weights: the optimizer of weights that runs last if the recipe names a trainer; None trains
            none.

    Raises:
        RecipeError: if the effort has an unknown name, or `weights` is not an optimizer.
    """

    effort: Effort | None = None
    weights: Optimizer | None = field(default_factory=BootstrapFinetune)
    name: str = "auto"

    def __post_init__(self) -> None:
        if self.effort is not None:
            check_choice("Auto", "effort", self.effort, get_args(Effort), error=RecipeError)
        if self.weights is not None:
            check_optimizer("Auto", "weights", self.weights)

    async def optimize(self, task: Task) -> ProgramState:
        if not task.scored:
            await task.evaluate(task.start, name="as declared")
        stages = Stages(task, most=self._most_runs(self._sizes(task)))
        stages.tell_baselines()
        weights = self._weights(stages)
        await self._look(stages)
        await self._spread(stages)
        await combine(stages)
        if weights is not None:
            await stages.run("weights", weights)
        return task.best.state

    def _weights(self, stages: Stages) -> Optimizer | None:
        """Keep the runs that training needs, if there is a trainer and the budget allows it."""
        if self.weights is None or not stages.task.trains:
            return None
        needed = self.weights.cost(self._sizes(stages.task)).runs
        room = stages.task.allowance().runs
        if room is not None and 2 * needed > room:
            stages.skip("weights", f"they may take {needed:,} of the {room:,} runs that are left")
            return None
        stages.keep(needed)
        return self.weights

    async def _look(self, stages: Stages) -> None:
        """Look at layouts and constrained outputs, then at nearest and fixed demonstrations."""
        await stages.look("layouts and constrained outputs", LayoutSearch(demos=0))
        if not can_show_demos(stages.task):
            return
        constrained = all(item.constrained for item in stages.task.best.state.predictors.values())
        near = KNNFewShot(bootstrap=False, constrained=constrained)
        await stages.look("nearest demonstrations", near)
        fixed = RandomSearch(candidates=1, bootstrapped=0, retrieval_share=0.0)
        await stages.look("fixed demonstrations", fixed)

    async def _spread(self, stages: Stages) -> None:
        """Spread what is left between the kinds of search, by what each gained the last time."""
        kinds = await self._kinds(stages)
        looked = [item for item in stages.outcomes if item.kind.endswith(_DEMONSTRATIONS)]
        worth = {_DEMONSTRATIONS: worth_of(looked)}
        fruitless = dict.fromkeys(kinds, 0)
        if any(item.gained for item in stages.outcomes):
            stages.keep_for_combinations()
        found = any(item.gained for item in looked)
        while kinds and stages.task.best.score < 1 and len(stages.outcomes) < _MOST_SEARCHES:
            kind = max(kinds, key=lambda name: _order(worth.get(name)))
            others = [worth.get(name) or 0.0 for name in kinds if name != kind]
            share = stages.left
            enough_for_two = found or share > _FOR_TWO * len(stages.task.val)
            if any(others) and enough_for_two:
                share = int(share * self._part(worth.get(kind), max(others), found))
            optimizer = self._search(kind, share, stages) or self._search(kind, stages.left, stages)
            if optimizer is None:
                stages.skip(kind, f"{stages.left:,} runs are left, too few for a further search")
                kinds.remove(kind)
                continue
            outcome = await stages.run(kind, optimizer)
            worth[kind] = worth_of([outcome])
            fruitless[kind] = 0 if outcome.gained else fruitless[kind] + 1
            if fruitless[kind] == _FRUITLESS:
                stages.skip(kind, f"nothing better was found {_FRUITLESS} times in a row")
                kinds.remove(kind)

    @staticmethod
    def _part(worth: float | None, other: float, found: bool) -> float:
        """Return the part of the runs that a kind of search gets, if another one may gain too."""
        if worth is None:
            return _UNTRIED_AFTER_GAIN if found else _UNTRIED
        return worth / (worth + other)

    async def _kinds(self, stages: Stages) -> list[str]:
        """Return the kinds of search that can gain, and say why others cannot."""
        task = stages.task
        kinds: list[str] = []
        if task.best.score >= 1:
            stages.skip("further searches", "every validation example has the full score")
            return kinds
        if can_show_demos(task) or task.best.score > 0:
            kinds.append(_DEMONSTRATIONS)
        else:
            why = "no training example has a label, and no run passed that could be shown"
            stages.skip(_DEMONSTRATIONS, why)
        if self._search(_INSTRUCTIONS, stages.left, stages) is None:
            stages.skip(_INSTRUCTIONS, f"{stages.left:,} runs are left, too few for a search")
        elif problem := await try_proposer(task.with_proposer_on_trial()):
            stages.skip(_INSTRUCTIONS, problem)
        else:
            kinds.append(_INSTRUCTIONS)
        return kinds

    def _search(self, kind: str, share: int, stages: Stages) -> Optimizer | None:
        """Make a search that takes about `share` runs, and no more than may be done at all."""
        sizes = self._sizes(stages.task)
        if kind == _INSTRUCTIONS:
            # The start is validated already, which both searches count as runs of their own.
            runs = int(share / (1 + stages.task.allowance().ask / _RUNS_PER_ASK))
            runs = min(runs, stages.most_left)
            if runs < sizes.val + _STEPS:
                return None
            if find_spec("gepa") is None:
                return EditSearch(runs=runs + sizes.val)
            return GEPA(runs=runs + sizes.val)
        each = _RACED * sizes.val
        bootstrapped = 4 if share > _ROLLOUTS + _FEWEST_WITH_ROLLOUTS * each else 0
        wanted = int((share - (_ROLLOUTS if bootstrapped else 0)) / each)
        allowed = (stages.most_left - (sizes.train if bootstrapped else 0)) // sizes.val
        candidates = min(wanted, allowed, _MOST_CANDIDATES)
        if candidates < 1:
            return None
        return RandomSearch(candidates=candidates, bootstrapped=bootstrapped)

    def cost(self, sizes: Sizes) -> Cost:
        runs = self._most_runs(sizes)
        own = Cost(
            runs + TRIAL_RUNS,
            asks=runs // 2 + _MOST_SEARCHES + TRIAL_ASKS,
            pools=2 + 2 * _MOST_SEARCHES,
        )
        if self.weights is not None and sizes.trainer:
            return own + self.weights.cost(sizes)
        return own

    def settings(self) -> dict[str, Any]:
        weights = self.weights and {"name": self.weights.name, **self.weights.settings()}
        return {"name": self.name, "effort": self.effort, "weights": weights}

    def _most_runs(self, sizes: Sizes) -> int:
        effort = self.effort or ("heavy" if sizes.limited else "light")
        return _TIMES[effort] * (6 * sizes.val + sizes.train)

    @staticmethod
    def _sizes(task: Task) -> Sizes:
        return Sizes(
            len(task.train),
            len(task.val),
            len(task.predictors),
            limited=task.allowance().runs is not None,
            trainer=task.trains,
        )


def can_show_demos(task: Task) -> bool:
    """Whether a training example has the inputs and labels of a predictor."""
    return any(labeled_demos(task.predictors, task.train).values())


async def combine(stages: Stages) -> None:
    """Race the best state with single parts of other good ones."""
    if not stages.perfect:
        await stages.race("combinations of the best", combinations(stages.task))


def _order(worth: float | None) -> float:
    """Order what was not tried yet before all else."""
    return float("inf") if worth is None else worth
