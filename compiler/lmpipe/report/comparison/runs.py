"""Two programs side by side: settings, states, and scores where both have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from lmpipe.compiling.run_folder import read_artifact
from lmpipe.report.comparison.scores import ScoreComparison, compare_rows
from lmpipe.report.comparison.settings import Setting, compare_settings, other_scorers
from lmpipe.report.comparison.states import Change, PredictorChanges, compare_states, reducing
from lmpipe.report.records import TestRow
from lmpipe.report.run_files import RunFiles, read_run, result_rows
from lmpipe.state.program_state import ProgramState

Split: TypeAlias = Literal["test", "val", "train"]

WORDS: Mapping[str, str] = {
    "test": "test examples",
    "val": "validation examples",
    "train": "training examples",
}


@dataclass(frozen=True)
class Side:
    """One of the programs that are compared.

    Args:
        name: what the user calls it.
        made_of: its manifest, or for a program that was not compiled the same entries.
        run: the files of its run folder, if it has one.
    """

    name: str
    made_of: Mapping[str, Any]
    state: ProgramState
    run: RunFiles | None = None

    def rows(self, split: str) -> Sequence[TestRow]:
        """Return its rows on a split, as its compile scored them, if it did."""
        return result_rows(self.run, split) if self.run else ()


@dataclass(frozen=True)
class Comparison:
    """What differs between two programs, and their scores on the same examples, if known.

    Args:
        names: what the user calls the two.
        ensemble: how the members of an ensemble vote, if that differs.
        predictors: what differs, by path.
        notes: what to know about the scores, or how to get them.
    """

    names: tuple[str, str]
    settings: tuple[Setting, ...]
    ensemble: Change | None
    predictors: Mapping[str, PredictorChanges]
    scores: ScoreComparison | None = None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "before": self.names[0],
            "after": self.names[1],
            "settings": [setting.to_json() for setting in self.settings],
            "ensemble": self.ensemble and self.ensemble.to_json(),
            "predictors": {path: found.to_json() for path, found in self.predictors.items()},
            "scores": self.scores and self.scores.to_json(),
            "notes": list(self.notes),
        }


def read_side(folder: str | Path) -> Side:
    """Read a run folder; runs no code.

    Raises:
        ArtifactError: if it holds no finished compile, or a file of it is damaged.
    """
    artifact = read_artifact(folder)
    return Side(str(folder), artifact.manifest, artifact.state, read_run(artifact.path))


def compare_sides(
    before: Side,
    after: Side,
    scores: ScoreComparison | None = None,
    notes: Sequence[str] = (),
) -> Comparison:
    """Compare two programs by settings and state; the scores are compared already."""
    return Comparison(
        (before.name, after.name),
        tuple(compare_settings([before.made_of, after.made_of])),
        reducing(before.state, after.state),
        compare_states(before.state, after.state),
        scores,
        tuple(notes),
    )


def scores_in_folders(
    before: Side, after: Side, splits: Sequence[str] = ("test", "val")
) -> tuple[ScoreComparison | None, str]:
    """Compare scores from the run folders alone, on the first split that both were scored on.

    Without a comparison, the text says why there is none.
    """
    if different := other_scorers([before.made_of, after.made_of]):
        return None, f"they were scored by different {different}"
    for split in splits:
        rows = before.rows(split), after.rows(split)
        if (found := compare_rows(*rows, WORDS[split])) is not None:
            return found, ""
    return None, f"the run folders have no {' or '.join(map(WORDS.__getitem__, splits))} in common"
