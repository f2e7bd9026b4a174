"""`lmpipe import`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lmpipe.data.example import Example


def command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An exported .json or .jsonl file.")],
    map_: Annotated[
        Path,
        typer.Option(
            "--map", metavar="FILE", help="TOML or JSON that says which span is which predictor."
        ),
    ],
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="otlp, langfuse, langsmith, mlflow, openai-evals or stored-completions; by "
            "default as the mapping says.",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="The data file to write, as JSON lines.")
    ] = Path("rows.jsonl"),
    predictor: Annotated[
        str | None,
        typer.Option(
            metavar="PATH", help="Make a row of each use of this predictor in place of each run."
        ),
    ] = None,
) -> None:
    """Turn traces, or a data set of another tool, into a data file for compiles.

    Corrections replace outputs; failed runs, and those with a thumbs-down, are left out.
    """
    from lmpipe.data.traces.importing import import_file
    from lmpipe.foundation.atomic_files import write_file
    from lmpipe.foundation.exact_json import dump_json
    from lmpipe.foundation.plural import plural
    from lmpipe.foundation.storing import storing

    _check_out(out, (file, map_))
    imported = import_file(file, mapping=map_, format=format_, predictor=predictor)
    examples = imported.examples
    with storing(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
    write_file(out, b"".join(dump_json(example.to_json()) + b"\n" for example in examples))
    left_out = ", ".join(f"{count:,} {reason}" for reason, count in imported.left_out.items())
    typer.echo(f"{out}: {plural(len(examples), 'row')}; left out: {left_out or 'none'}")
    inputs, labels = _fields(examples)
    typer.echo(f'lmpipe.Source("{out}", inputs={inputs!r})  # labels: {", ".join(labels)}')


def _check_out(out: Path, read: tuple[Path, ...]) -> None:
    from lmpipe.errors import ConfigError

    if out.suffix.lower() != ".jsonl":
        raise ConfigError(f"--out {out}: JSON lines are written: give a name that ends in .jsonl")
    if any(file.exists() and out.exists() and out.samefile(file) for file in read):
        raise ConfigError(f"--out {out} would overwrite the file that is read: give another name")


def _fields(examples: list[Example]) -> tuple[list[str], list[str]]:
    """The inputs and the labels of all examples, each once."""
    inputs = {name: None for example in examples for name in example.inputs}
    labels = {name: None for example in examples for name in example.labels}
    return list(inputs), list(labels)
