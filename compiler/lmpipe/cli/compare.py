"""`lmpipe compare`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmpipe.cli.examples import Split
from lmpipe.cli.options import (
    Json,
    LMOptions,
    Program,
    RuntimeOptions,
    TargetOptions,
    Trust,
    with_option_groups,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lmpipe.cli.targets import OpenTarget
    from lmpipe.report.comparison.runs import Comparison, Side
    from lmpipe.report.comparison.scores import ScoreComparison


@with_option_groups
def command(
    *,
    before: Annotated[str, typer.Argument(metavar="A", help="A run folder or a program's file.")],
    after: Annotated[str, typer.Argument(metavar="B", help="What is compared with it.")],
    program: Program = None,
    trust: Trust = False,
    split: Annotated[
        Split | None,
        typer.Option(
            "--split",
            help="The examples to compare scores on; by default those of the test, or else of the "
            "validation.",
        ),
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="PATH", help="Other examples to compare scores on.")
    ] = None,
    run: Annotated[
        bool, typer.Option("--run", help="Make the LM calls that are not in the cache.")
    ] = False,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="LIMITS", help="Make as many of them as this allows, such as calls=200,usd=0.5."
        ),
    ] = None,
    rows: Annotated[
        int, typer.Option(metavar="N", min=0, help="Show N rows that are worse, and N better.")
    ] = 3,
    lms: LMOptions,
    runtime: RuntimeOptions,
    json: Json = False,
) -> None:
    """Compare two compiled programs: what they learned, and scores on the same examples.

    Scores come from the run folders where they have them. Otherwise, with --program or --trust,
    the programs run again from the cache, and with --run or --budget beyond it.
    """
    from lmpipe.foundation.exact_json import dump_json
    from lmpipe.report.comparison.terminal import print_comparison
    from lmpipe.report.terminal import make_console

    targets = _Targets(before, after, program, trust, lms)
    again = _Again(split, data, run, budget, runtime)
    found = _compare(targets, again)
    if json:
        typer.echo(dump_json(found.to_json(), default=dict).decode())
    else:
        print_comparison(make_console(), found, rows=rows)


class _Targets:
    """The two targets, as they were named, and what is needed to run them."""

    def __init__(
        self, before: str, after: str, program: Path | None, trust: bool, lms: LMOptions
    ) -> None:
        from lmpipe.cli.targets import is_run_folder

        self.names = (before, after)
        self._lms = lms
        self._trust = trust
        self.folders = tuple(map(is_run_folder, self.names))
        files = [name for name, folder in zip(self.names, self.folders, strict=True) if not folder]
        # The file of one is code that the user named; it can run the other one too, unless that may
        # run its own.
        self._program = program or (Path(files[0]) if files and not trust else None)

    @property
    def can_run(self) -> bool:
        """Whether the code of the programs may run."""
        return self._trust or self._program is not None

    @property
    def other_lms(self) -> bool:
        """Whether the programs are to run on other LMs than their own."""
        return self._lms != LMOptions()

    def opened(self) -> list[OpenTarget]:
        """Open both; this runs the program's file."""
        from lmpipe.cli.overrides import lm_overrides
        from lmpipe.cli.targets import open_target

        opened = []
        for name, folder in zip(self.names, self.folders, strict=True):
            options = TargetOptions(target=name, trust=self._trust)
            if folder:
                options = replace(options, program=self._program)
            opened.append(open_target(options, lm_overrides(self._lms)))
        return opened

    def sides(self, opened: Sequence[OpenTarget]) -> list[Side]:
        """Describe both; `opened` is empty if no code ran."""
        from lmpipe.report.comparison.runs import read_side

        sides = []
        for place, (name, folder) in enumerate(zip(self.names, self.folders, strict=True)):
            sides.append(read_side(name) if folder else _declared(opened[place]))
        return sides


def _declared(opened: OpenTarget) -> Side:
    from lmpipe.compiling.recipe import prepare
    from lmpipe.report.comparison.runs import Side

    return Side(opened.name, prepare(opened.recipe).identity, opened.program.state())


class _Again:
    """How scores are made that the run folders do not have."""

    def __init__(
        self,
        split: Split | None,
        data: str | None,
        run: bool,
        budget: str | None,
        runtime: RuntimeOptions,
    ) -> None:
        from lmpipe.optimize.engine.budget import Budget

        self.split, self.data, self.runtime = split, data, runtime
        self.budget = Budget.parse(budget) if budget else Budget() if run else None

    def scores(self, opened: Sequence[OpenTarget]) -> tuple[ScoreComparison | None, list[str]]:
        """Score both programs on the examples of the first, with its metric."""
        from lmpipe.cli.examples import read_examples_of
        from lmpipe.cli.rescore import Scoring, rescore, spending_note
        from lmpipe.cli.targets import attach_servers, open_runtime
        from lmpipe.report.comparison.runs import WORDS
        from lmpipe.report.comparison.scores import compare_rows

        first = opened[0]
        split = self.split or (Split.VAL if first.recipe.test is None else Split.TEST)
        examples, _ = read_examples_of(first, split, self.data)
        recipe, concurrency = first.recipe, self.runtime.concurrency
        scoring = Scoring(recipe.metric, recipe.judge, self.budget, concurrency)
        with open_runtime(self.runtime):
            if self.budget is not None:
                for target in opened:
                    attach_servers(target)
            found = rescore(opened, examples, scoring)
        note = spending_note([target.name for target in opened], found, len(examples))
        both = [index for index in found[0].rows if index in found[1].rows]
        before, after = ([item.rows[index] for index in both] for item in found)
        where = f"examples of {self.data}" if self.data else WORDS[split.value]
        return compare_rows(before, after, where), [note] if note else []


def _compare(targets: _Targets, again: _Again) -> Comparison:
    """Compare, with scores from the run folders if they have them and nothing else is asked."""
    from lmpipe.report.comparison.runs import compare_sides, scores_in_folders

    folders_do = all(targets.folders) and again.data is None and not targets.other_lms
    if folders_do:
        sides = targets.sides(())
        splits = ("test", "val") if again.split is None else (again.split.value,)
        scores, why = scores_in_folders(sides[0], sides[1], splits)
        if scores is not None or not targets.can_run:
            remedy = "--program FILE (or --trust) scores both again, from the cache first"
            notes = [] if scores is not None else [f"no scores to compare: {why}; {remedy}"]
            return compare_sides(sides[0], sides[1], scores, [*notes, *_caveats(sides, scores)])
    opened = targets.opened()
    scores, notes = again.scores(opened)
    sides = targets.sides(opened)
    return compare_sides(sides[0], sides[1], scores, [*notes, *_caveats(sides, scores)])


def _caveats(sides: Sequence[Side], scores: ScoreComparison | None) -> list[str]:
    """Say what makes the scores less than a fair test."""
    from lmpipe.report.comparison.runs import WORDS

    if scores is None:
        return []
    notes = []
    if scores.where in (WORDS["val"], WORDS["train"]):
        notes.append(
            f"the {scores.where} also chose or taught these programs, so gains are too high"
        )
    data = [side.made_of.get("data", {}) for side in sides]
    names = ("train", "val", "test")
    if any(data[0].get(name) != data[1].get(name) for name in names):
        notes.append(
            "the two were compiled with other data: one may have learned from these examples"
        )
    return notes
