"""`lmpipe runs`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from lmpipe.cli.options import Json, non_negative, with_option_groups


class Sort(StrEnum):
    """What runs are sorted by."""

    STARTED = "started"
    PROGRAM = "program"
    OPTIMIZER = "optimizer"
    STATUS = "status"
    SCORE = "score"
    DIFFERENCE = "difference"
    CALLS = "calls"
    USD = "usd"
    SECONDS = "seconds"


@dataclass(frozen=True, kw_only=True)
class RunFilters:
    """Which runs are listed, and in what order; the same fields as `report.run_list.Chosen`."""

    program: Annotated[
        str, typer.Option(metavar="TEXT", help="Only programs whose name contains this.")
    ] = ""
    optimizer: Annotated[
        str, typer.Option(metavar="TEXT", help="Only optimizers whose name contains this.")
    ] = ""
    finished: Annotated[
        bool | None,
        typer.Option("--finished/--unfinished", help="Only compiles that have finished, or not."),
    ] = None
    min_score: Annotated[
        float | None,
        typer.Option(
            metavar="SCORE", parser=non_negative, help="Only test scores of at least this, as 0.8."
        ),
    ] = None
    max_usd: Annotated[
        float | None,
        typer.Option(
            metavar="USD", parser=non_negative, help="Only runs that cost at most this much."
        ),
    ] = None
    since: Annotated[
        str, typer.Option(metavar="DATE", help="Only runs that started on this day or later.")
    ] = ""
    until: Annotated[
        str, typer.Option(metavar="DATE", help="Only runs that started on this day or earlier.")
    ] = ""
    sort: Annotated[
        Sort, typer.Option(help="What to sort by; the largest, or the newest, is last.")
    ] = Sort.STARTED
    reverse: Annotated[bool, typer.Option("--reverse", help="Put the largest first.")] = False
    most: Annotated[
        int | None,
        typer.Option("-n", metavar="N", min=1, help="Only the N largest, or newest, of the sort."),
    ] = None


@with_option_groups
def command(
    *,
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder that holds run folders.")
    ] = Path("runs"),
    filters: RunFilters,
    json: Json = False,
) -> None:
    """List the compiles in a folder, as many as you choose, in the order that you choose."""
    import orjson

    from lmpipe.errors import ArtifactError
    from lmpipe.foundation.plural import plural
    from lmpipe.monitoring.drift import Drift
    from lmpipe.report.run_list import Chosen, list_runs
    from lmpipe.report.runs_table import print_runs
    from lmpipe.report.terminal import make_console, say

    if not folder.is_dir():
        raise ArtifactError(f"{folder}: no such folder; `lmpipe compile FILE` creates it")
    chosen = Chosen(**{**asdict(filters), "sort": filters.sort.value})
    found = list_runs(folder)
    runs = chosen.of(found)
    if json:
        for run in runs:
            typer.echo(orjson.dumps(run).decode())
    elif runs:
        console = make_console()
        print_runs(console, runs)
        for run in runs:
            if run["drift"]:
                drift = Drift(**run["drift"])
                line = f"drift  {run['folder']}: {drift}; compile it on newer data"
                say(console, line, style="yellow")
    elif found:
        typer.echo(f"none of {plural(len(found), 'run')} in {folder} is as the options ask")
    else:
        typer.echo(f"no runs in {folder}; `lmpipe compile FILE` creates one")
