"""Gates of `lmpipe eval` for continuous integration: a lowest score, and a baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmpipe.cli.options import TargetOptions, non_negative

if TYPE_CHECKING:
    from lmpipe.cli.targets import OpenTarget
    from lmpipe.compiling.recipe import PreparedRecipe
    from lmpipe.data.example import Example
    from lmpipe.evaluation.results import Evaluation
    from lmpipe.report.comparison.runs import Side
    from lmpipe.report.comparison.scores import ScoreComparison

# Sums of scores differ in their last bits from the number that the user means.
_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class GateOptions:
    """What a score has to reach."""

    fail_under: Annotated[
        float | None,
        typer.Option(
            metavar="SCORE",
            parser=non_negative,
            help="Exit with code 3 if the score is below this, such as 0.8.",
        ),
    ] = None
    baseline: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Compare with this run on the same examples; exit with code 3 if the score is "
            "worse for certain: the whole paired interval is below zero.",
        ),
    ] = None
    max_drop: Annotated[
        float | None,
        typer.Option(
            metavar="D",
            parser=non_negative,
            help="With --baseline, exit with code 3 unless the interval shows that the score is "
            "at most this much worse, such as 0.02.",
        ),
    ] = None
    require_improvement: Annotated[
        bool,
        typer.Option(
            "--require-improvement",
            help="With --baseline, exit with code 3 unless the whole interval is above zero.",
        ),
    ] = False

    def check(self) -> None:
        """Refuse options that make no sense, before an LM is called."""
        from lmpipe.errors import ConfigError

        if self.fail_under is not None and self.fail_under > 1:
            raise ConfigError(
                f"--fail-under {self.fail_under:g}: scores are between 0 and 1, so 80 % is 0.8"
            )
        if self.max_drop is not None and self.max_drop > 1:
            raise ConfigError(
                f"--max-drop {self.max_drop:g}: scores are between 0 and 1, so 2 points are 0.02"
            )
        if self.baseline is None and (self.max_drop is not None or self.require_improvement):
            name = "--require-improvement" if self.require_improvement else "--max-drop"
            raise ConfigError(f"{name} compares with a run: give it with --baseline RUN")
        if self.max_drop is not None and self.require_improvement:
            raise ConfigError("--require-improvement allows no drop: leave out --max-drop")


@dataclass(frozen=True)
class Gate:
    """A condition, whether it holds, and a sentence on it."""

    name: str
    passed: bool
    message: str

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"gate": self.name, "passed": self.passed, "message": self.message}


def gates(options: GateOptions, score: float, compared: ScoreComparison | None) -> Sequence[Gate]:
    """Check a score, and its comparison with the baseline, against all gates that were asked."""
    from lmpipe.report.text import percent, points, points_range

    found = []
    if (limit := options.fail_under) is not None:
        passed = score >= limit - _ROUNDING
        word = "reaches" if passed else "is below"
        found.append(Gate("fail-under", passed, f"{percent(score)} {word} {percent(limit)}"))
    if compared is None:
        return found
    low, high = compared.interval.low, compared.interval.high
    said = f"{points(compared.difference)} points ({points_range((low, high))})"
    if options.require_improvement:
        passed = low > 0
        word = "is above zero" if passed else "is not above zero as a whole"
        found.append(Gate("require-improvement", passed, f"{said}: the interval {word}"))
    elif (most := options.max_drop) is not None:
        passed = low >= -most - _ROUNDING
        word = "shows" if passed else "does not show"
        allowed = f"that at most {100 * most:g} points are lost"
        found.append(Gate("max-drop", passed, f"{said}: the interval {word} {allowed}"))
    else:
        passed = high >= 0
        word = "not worse for certain" if passed else "worse: the whole interval is below zero"
        found.append(Gate("baseline", passed, f"{said}: {word}"))
    return found


@dataclass(frozen=True)
class Baseline:
    """The run that an evaluation is compared with."""

    side: Side
    options: TargetOptions

    @staticmethod
    def read(folder: Path, where: TargetOptions) -> Baseline:
        """Read its folder; `where` says which program's file may run."""
        from lmpipe.cli.targets import is_run_folder
        from lmpipe.report.comparison.runs import read_side

        program = where.program
        if program is None and not where.trust and not is_run_folder(where.target):
            program = Path(where.target)
        options = TargetOptions(target=str(folder), program=program, trust=where.trust)
        return Baseline(read_side(folder), options)

    def compare(
        self,
        evaluation: Evaluation,
        examples: Sequence[Example],
        split: str | None,
        prepared: PreparedRecipe | None,
        opened: OpenTarget,
        concurrency: int,
    ) -> ScoreComparison:
        """Compare an evaluation with the rows of the run, or else run its program too.

        Args:
            split: the name of the examples in the recipe; None if they are others.
            prepared: the recipe of the evaluation; None if the examples are others.
            opened: what was evaluated.
        """
        from lmpipe.errors import DataError
        from lmpipe.report.comparison.runs import WORDS
        from lmpipe.report.comparison.scores import compare_rows
        from lmpipe.report.records import TestRow

        after = [TestRow.of(row) for row in evaluation.rows]
        where = WORDS[split] if split else "examples"
        if split and prepared and self._same_scorer(prepared):
            found = compare_rows(self.side.rows(split), after, where)
            if found is not None and not found.unpaired[1]:
                return found
        before = self._evaluate(examples, opened, concurrency)
        again = [TestRow.of(row) for row in before.rows]
        found = compare_rows(again, after, where)
        if found is None:
            raise DataError("there are no examples on which to compare with the baseline")
        return found

    def _same_scorer(self, prepared: PreparedRecipe) -> bool:
        from lmpipe.report.comparison.settings import other_scorers

        return not other_scorers([self.side.made_of, prepared.identity])

    def _evaluate(
        self, examples: Sequence[Example], opened: OpenTarget, concurrency: int
    ) -> Evaluation:
        """Run the program of the baseline on its own LM, scored by the metric of the other."""
        from lmpipe.cli.overrides import Overrides
        from lmpipe.cli.targets import attach_servers, evaluate_target, open_target
        from lmpipe.settings import using

        target = open_target(self.options, Overrides())
        with using(embedder=target.recipe.embedder):
            attach_servers(target)
            return evaluate_target(
                target, examples, scored_by=opened, concurrency=concurrency, progress=False
            )
