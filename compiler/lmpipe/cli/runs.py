"""`lmpipe runs`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from lmpipe.cli.options import Json


def command(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder that holds run folders.")
    ] = Path("runs"),
    json: Json = False,
) -> None:
    """List the compiles in a folder."""
    import orjson

    from lmpipe.errors import ArtifactError
    from lmpipe.report.terminal import make_console, print_runs

    if not folder.is_dir():
        raise ArtifactError(f"{folder}: no such folder; `lmpipe compile FILE` creates it")
    runs = list_runs(folder)
    if json:
        for run in runs:
            typer.echo(orjson.dumps(run).decode())
    elif runs:
        print_runs(make_console(), runs)
    else:
        typer.echo(f"no runs in {folder}; `lmpipe compile FILE` creates one")


def list_runs(folder: Path) -> list[dict[str, Any]]:
    """Summarize the manifests in a folder, oldest first; damaged ones have the status `damaged`."""
    from lmpipe.compiling.run_folder import MANIFEST, read_manifest
    from lmpipe.errors import ArtifactError

    found = []
    for manifest in sorted(folder.glob(f"*/{MANIFEST}")):
        try:
            found.append(_entry(manifest.parent, read_manifest(manifest.parent)))
        except ArtifactError:
            found.append(_entry(manifest.parent, {"status": "damaged"}))
    return sorted(found, key=lambda run: (run["started"], run["folder"]))


def _entry(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    test = manifest.get("test")
    total = manifest.get("spend", {}).get("total", {})
    return {
        "folder": str(folder),
        "started": str(manifest.get("started", "")),
        "program": str(manifest.get("program", {}).get("name", "")),
        "status": str(manifest.get("status", "")),
        "optimizer": str(manifest.get("optimizer", {}).get("name", "")),
        "baseline": test["scores"][test["baseline"]]["score"] if test else None,
        "compiled": test["scores"]["compiled"]["score"] if test else None,
        "difference": test["difference"] if test else None,
        "interval": test["interval"] if test else None,
        "calls": total.get("calls"),
    }
