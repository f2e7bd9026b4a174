"""`lmpipe export`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmpipe.cli.options import Program, Trust

if TYPE_CHECKING:
    from lmpipe.state.trace import Trace
    from lmpipe.weights.rows import TrainingRow


class Format(StrEnum):
    """How fine-tuning rows are written."""

    HF = "hf"
    OPENAI = "openai"


def command(
    target: Annotated[str, typer.Argument(metavar="RUN", help="A run folder.")],
    format_: Annotated[
        Format, typer.Option("--format", help="hf: datasets and TRL; openai: its fine-tuning API.")
    ] = Format.HF,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Where the files go, one for each predictor.")
    ] = Path("rows"),
    program: Program = None,
    trust: Trust = False,
) -> None:
    """Write the fine-tuning rows of a run: those it trained on, or its rollouts that passed."""
    from lmpipe.compiling.run_folder import read_artifact
    from lmpipe.errors import DataError
    from lmpipe.foundation.atomic_files import write_file
    from lmpipe.weights.rows import rows_to_jsonl
    from lmpipe.weights.trainings import folder_name

    artifact = read_artifact(target)
    rows = _trained_on(artifact.path) or _rolled_out(target, program, trust=trust)
    if not any(rows.values()):
        raise DataError(
            f"{target} has no rows to train on: none of its rollouts passed, or its optimizer "
            "makes none; `--optimizer finetune` and `bootstrap` do"
        )
    out.mkdir(parents=True, exist_ok=True)
    for path, items in rows.items():
        file = out / f"{folder_name(path)}.jsonl"
        write_file(file, rows_to_jsonl(items, format_.value))
        typer.echo(f"{file}: {len(items)} rows")


def _trained_on(folder: Path) -> dict[str, list[TrainingRow]]:
    """The rows of adapters in the folder; none where nothing was trained."""
    from lmpipe.report.run_files import read_lines
    from lmpipe.weights.rows import row_from_json
    from lmpipe.weights.trainings import ROWS, WEIGHTS, predictor_named

    files = sorted((folder / WEIGHTS).glob(f"*/{ROWS}"))
    return {
        predictor_named(file.parent.name): [
            row_from_json(value) for value in read_lines(file, torn=False)
        ]
        for file in files
    }


def _rolled_out(target: str, program: Path | None, *, trust: bool) -> dict[str, list[TrainingRow]]:
    """Rows of the rollouts that passed, written as the compiled program would be asked."""
    from lmpipe.cli.targets import open_target
    from lmpipe.report.run_files import read_lines
    from lmpipe.weights.rows import training_rows

    opened = open_target(target, program=program, trust=trust)
    assert opened.artifact is not None
    state = opened.program.state().without_demos()
    rollouts = [
        _trace(line["steps"])
        for line in read_lines(opened.artifact.path / "traces.jsonl", torn=False)
        if line["passed"]
    ]
    return training_rows(opened.program.bind(state), rollouts)


def _trace(steps: list[dict[str, Any]]) -> Trace:
    from lmpipe.lm.usage import Usage
    from lmpipe.state.trace import Step, Trace

    return Trace(
        [
            Step(step["predictor"], step["inputs"], step["outputs"], (), Usage(), 0.0, True)
            for step in steps
            if step["outputs"]  # a call that failed has none
        ]
    )
