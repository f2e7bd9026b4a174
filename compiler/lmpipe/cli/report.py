"""`lmpipe report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A run folder.")],
) -> None:
    """Rewrite the report.html of a run folder."""
    from lmpipe.report.page import write_report

    typer.echo(str(write_report(folder)))
