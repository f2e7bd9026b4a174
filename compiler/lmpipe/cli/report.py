"""`lmpipe report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="FOLDER…", help="A run folder, or several for one page of all."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where to write the page of several; comparison.html beside the first by default.",
        ),
    ] = None,
) -> None:
    """Rewrite the report.html of a run folder, or write one page of several runs."""
    from lmpipe.errors import ConfigError
    from lmpipe.report.comparison.page import COMPARISON, write_comparison
    from lmpipe.report.page import write_report

    if len(folders) > 1:
        page = out or folders[0].resolve().parent / COMPARISON
        if page.suffix.lower() not in (".html", ".htm"):
            raise ConfigError(f"--out {page}: expected a name that ends in .html")
        typer.echo(str(write_comparison(folders, page)))
        return
    if out is not None:
        raise ConfigError("--out is for the page of several runs; that of one is in its folder")
    typer.echo(str(write_report(folders[0])))
