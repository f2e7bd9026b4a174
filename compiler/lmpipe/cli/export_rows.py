"""`lmpipe export --format hf` and `openai-rows`: the fine-tuning rows of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from lmpipe.cli.options import TargetOptions

if TYPE_CHECKING:
    from lmpipe.state.trace import Trace
    from lmpipe.weights.rows import RowFormat, TrainingRow


def export_rows(where: TargetOptions, format_: RowFormat, out: Path) -> None:
    """Write the rows that a run trained on, or else its passed rollouts: a file per predictor."""
    from lmpipe.compiling.run_folder import read_artifact
    from lmpipe.errors import DataError
    from lmpipe.foundation.atomic_files import write_file
    from lmpipe.weights.rows import rows_to_jsonl
    from lmpipe.weights.trainings import folder_name

    artifact = read_artifact(where.target)
    rows = _read_training_rows(artifact.path) or _rows_of_rollouts(where)
    if not any(rows.values()):
        raise DataError(
            f"{where.target} has no fine-tuning rows: none of its rollouts passed, or its "
            "optimizer makes no rollouts; compile with `--optimizer finetune` or `bootstrap`"
        )
    out.mkdir(parents=True, exist_ok=True)
    for path, items in rows.items():
        file = out / f"{folder_name(path)}.jsonl"
        write_file(file, rows_to_jsonl(items, format_))
        typer.echo(f"{file}: {len(items)} rows")


def _read_training_rows(folder: Path) -> dict[str, list[TrainingRow]]:
    """Read the rows that the run trained on, by predictor; empty if it trained nothing."""
    from lmpipe.report.run_files import read_lines
    from lmpipe.weights.rows import row_from_json
    from lmpipe.weights.training_store import ROWS
    from lmpipe.weights.trainings import WEIGHTS, predictor_named

    files = sorted((folder / WEIGHTS).glob(f"*/{ROWS}"))
    return {
        predictor_named(file.parent.name): [
            row_from_json(value) for value in read_lines(file, torn=False)
        ]
        for file in files
    }


def _rows_of_rollouts(where: TargetOptions) -> dict[str, list[TrainingRow]]:
    """Turn the passed rollouts into rows with the prompts of the compiled program."""
    from lmpipe.cli.overrides import Overrides
    from lmpipe.cli.targets import open_target
    from lmpipe.report.run_files import read_lines
    from lmpipe.weights.rows import training_rows

    opened = open_target(where, Overrides())
    assert opened.artifact is not None
    state = opened.program.state().without_demos()
    rollouts = [
        _trace(line["steps"])
        for line in read_lines(opened.artifact.path / "traces.jsonl", torn=False)
        if line["passed"]
    ]
    return training_rows(opened.program.bind(state), rollouts)


def _trace(steps: list[dict[str, Any]]) -> Trace:
    from lmpipe.state.trace import Step, Trace
    from lmpipe.state.usage import Usage

    return Trace(
        [
            Step(step["predictor"], step["inputs"], step["outputs"], (), Usage(), 0.0, True)
            for step in steps
            if step["outputs"]  # empty if the call failed
        ]
    )
