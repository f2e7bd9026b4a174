"""`lmpipe runs`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmpipe.cli.options import Json

if TYPE_CHECKING:
    from lmpipe.report.records import Manifest


def command(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder that holds run folders.")
    ] = Path("runs"),
    json: Json = False,
) -> None:
    """List the compiles in a folder."""
    import orjson

    from lmpipe.errors import ArtifactError
    from lmpipe.monitoring.drift import Drift
    from lmpipe.report.runs_table import print_runs
    from lmpipe.report.terminal import make_console, say

    if not folder.is_dir():
        raise ArtifactError(f"{folder}: no such folder; `lmpipe compile FILE` creates it")
    runs = list_runs(folder)
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
    else:
        typer.echo(f"no runs in {folder}; `lmpipe compile FILE` creates one")


def list_runs(folder: Path) -> list[dict[str, Any]]:
    """Summarize the manifests in a folder, oldest first; damaged ones have the status `damaged`."""
    from lmpipe.compiling.run_folder import MANIFEST, read_manifest
    from lmpipe.errors import ArtifactError
    from lmpipe.report.run_files import parse_manifest

    found = []
    for file in sorted(folder.glob(f"*/{MANIFEST}")):
        try:
            manifest = parse_manifest(read_manifest(file.parent), file.parent)
        except ArtifactError:
            found.append(_entry(file.parent, None))
        else:
            found.append(_entry(file.parent, manifest))
    return sorted(found, key=lambda run: (run["started"], run["folder"]))


def _entry(folder: Path, manifest: Manifest | None) -> dict[str, Any]:
    test = manifest and manifest.test
    return {
        "folder": str(folder),
        "started": manifest.started if manifest else "",
        "program": manifest.program.name if manifest else "",
        "status": manifest.status if manifest else "damaged",
        "optimizer": manifest.optimizer.name if manifest else "",
        "baseline": test.scores[test.baseline].score if test else None,
        "compiled": test.scores["compiled"].score if test else None,
        "difference": test.difference if test else None,
        "interval": list(test.interval) if test else None,
        "calls": manifest.spend.total.calls if manifest and manifest.spend else None,
        "drift": _drift(folder),
    }


def _drift(folder: Path) -> dict[str, Any] | None:
    """Return how served inputs leave those of the compile; None if they do not, or nobody knows."""
    from lmpipe.errors import ArtifactError
    from lmpipe.monitoring.served_inputs import drift_of

    try:
        drift = drift_of(folder)
    except ArtifactError:
        return None  # the table shows what is known of the run
    return drift.to_json() if drift else None
