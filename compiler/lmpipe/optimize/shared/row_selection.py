"""From judged runs to the rows of each predictor, as many as are wanted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from lmpipe.data.example import Example
from lmpipe.errors import RecipeError
from lmpipe.foundation.checks import check_choice, check_number
from lmpipe.modules.module import Module
from lmpipe.optimize.engine.events import Rollout
from lmpipe.optimize.engine.optimizer import Cost, Sizes
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.shared.judged_runs import JudgedRuns
from lmpipe.optimize.shared.row_rules import NAMED_RULES, RandomRows, RowPools, RowRule, RowRuleName
from lmpipe.state.program_state import ProgramState
from lmpipe.weights.rows import RowChoice, TrainingRow, preference_rows, training_rows
from lmpipe.weights.settings import Method

Rows = Mapping[str, Sequence[TrainingRow]]


@dataclass(frozen=True)
class ChosenRows:
    """The rows to train on, by predictor path.

    Args:
        rows: the rows.
        found: how many there were.
        rule: the rule that chose; empty if none had to.
        calls: the LM calls that it made.
    """

    rows: Rows
    found: Mapping[str, int]
    rule: str = ""
    calls: int = 0

    @property
    def merged(self) -> list[TrainingRow]:
        """The rows of all predictors."""
        return list(dict.fromkeys(row for rows in self.rows.values() for row in rows))

    def choice(self, paths: Iterable[str]) -> RowChoice | None:
        """Say how the rows of some predictors were chosen; None if all are used."""
        found = {path: self.found[path] for path in paths}
        if all(len(self.rows[path]) == number for path, number in found.items()):
            return None
        return RowChoice(sum(found.values()), self.rule, self.calls)

    def to_json(self) -> dict[str, Any]:
        """Return the numbers of rows, and how they were chosen if they were."""
        counts = {path: len(rows) for path, rows in self.rows.items()}
        if not self.rule:
            return {"counts": counts}
        return {"counts": counts, "of": self.found, "rule": self.rule, "calls": self.calls}


@dataclass(frozen=True)
class RowSelection:
    """How many rows each predictor is trained on, all if None, and the rule that chooses them."""

    rows: int | None = None
    rule: RowRule = field(default_factory=RandomRows)

    @classmethod
    def of(cls, owner: str, rows: int | None, select: RowRule | RowRuleName) -> Self:
        """Check the settings of an optimizer, which `owner` names in errors.

        Raises:
            RecipeError: if the number is out of range, there is no such rule, or a rule is chosen
                without a number.
        """
        check_number(owner, "rows", rows, minimum=1, integer=True, optional=True, error=RecipeError)
        if isinstance(select, str):
            check_choice(owner, "select", select, tuple(NAMED_RULES), error=RecipeError)
            select = NAMED_RULES[select]()
        elif isinstance(select, type) or not isinstance(select, RowRule):
            names = ", ".join(map(repr, NAMED_RULES))
            raise RecipeError(
                f"{owner}(select={select!r:.80}): select must be one of {names}, or an object with "
                "the methods of lmpipe.optimize.RowRule"
            )
        if rows is None and not isinstance(select, RandomRows):
            raise RecipeError(
                f"{owner}(select={select.name!r}): the rule chooses among rows, and without a "
                "number all are trained on: set rows, such as rows=100"
            )
        return cls(rows, select)

    def settings(self) -> dict[str, Any]:
        """Return the settings `rows` and `select`, as JSON."""
        return {"rows": self.rows, "select": {**self.rule.settings(), "name": self.rule.name}}

    def cost(self, sizes: Sizes) -> Cost:
        """Return the maximum that the rule does on data of these sizes."""
        return Cost(0) if self.rows is None else self.rule.cost(sizes)

    async def choose(
        self, task: Task, student: ProgramState, runs: JudgedRuns, method: Method
    ) -> ChosenRows:
        """Make the rows of each predictor, and keep as many as are wanted.

        The rule is asked only about predictors that have more.
        """
        program = task.program.bind(student)
        rows = _make_rows(program, runs, method)
        found = {path: len(own) for path, own in rows.items()}
        limit = self.rows
        many = [path for path, size in found.items() if limit is not None and size > limit]
        chosen = ChosenRows(rows, found)
        if many:
            before = task.spend.calls
            pools = {path: _first_of_each(runs.passed[path], path) for path in many}
            order = _checked(self.rule, pools, await self.rule.order(task, student, pools))
            ordered = _make_rows(program, _in_order(runs, order), method)
            kept = {**rows, **{path: ordered[path][:limit] for path in many}}
            chosen = ChosenRows(kept, found, self.rule.name, task.spend.calls - before)
        task.note("rows", **chosen.to_json())
        return chosen


def _make_rows(program: Module, runs: JudgedRuns, method: Method) -> Rows:
    passed, failed = (
        {path: [run.row.trace for run in own] for path, own in judged.items()}
        for judged in (runs.passed, runs.failed)
    )
    if method == "sft":
        return training_rows(program, passed)
    return preference_rows(program, passed, failed)


def _first_of_each(runs: Sequence[Rollout], path: str) -> list[Rollout]:
    """Return the first run of each example in which a predictor has a reply to learn from."""
    first: dict[Example, Rollout] = {}
    for run in runs:
        if any(step.exemplary for step in run.row.trace.of(path)):
            first.setdefault(run.row.example, run)
    return list(first.values())


def _in_order(runs: JudgedRuns, order: RowPools) -> JudgedRuns:
    """Order the runs of predictors as a rule ordered their examples.

    All first runs come before second runs of the same examples: rows differ more between examples
    than between samples of one.
    """
    ranks = {
        path: {run.row.example: rank for rank, run in enumerate(own)} for path, own in order.items()
    }
    passed, failed = (
        {**judged, **{path: _by_rank(judged[path], ranks[path]) for path in ranks}}
        for judged in (runs.passed, runs.failed)
    )
    return replace(runs, passed=passed, failed=failed)


def _by_rank(runs: Sequence[Rollout], ranks: Mapping[Example, int]) -> list[Rollout]:
    earlier: Counter[Example] = Counter()
    keyed: list[tuple[int, int, Rollout]] = []
    for run in runs:
        if (rank := ranks.get(run.row.example)) is not None:
            keyed.append((earlier[run.row.example], rank, run))
            earlier[run.row.example] += 1
    return [run for *_, run in sorted(keyed, key=lambda item: item[:2])]


def _checked(rule: RowRule, pools: RowPools, order: RowPools) -> RowPools:
    """Check what a rule returned, which may be a user's."""
    if not isinstance(order, Mapping):
        raise RecipeError(
            f"the rule {rule.name!r} for rows returned {order!r:.80}: its method order must return "
            "a mapping, with the runs of each path that it is given"
        )
    for path, runs in pools.items():
        known = {run.row.example for run in runs}
        if path not in order or any(run.row.example not in known for run in order[path]):
            raise RecipeError(
                f"the rule {rule.name!r} for rows gave no order of the runs of {path}: its method "
                "order must return, for each path that it is given, the runs of that path"
            )
    return order
