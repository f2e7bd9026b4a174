"""Run folders for tests that only serve them: copies of the sample run."""

from __future__ import annotations

import hashlib
import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from helpers.pages import ROOT

import lmpipe
from lmpipe.compiling.load_recipe import load_recipe
from lmpipe.compiling.load_run import bind_artifact
from lmpipe.compiling.run_folder import read_artifact
from lmpipe.lm.current import Settings
from lmpipe.lm.request import Request
from lmpipe.lm.runtime import Runtime
from lmpipe.serve.deployment import ServedRun
from lmpipe.serve.run_source import RunSource

SAMPLE = ROOT / "runs" / "sample" / "tickets"


def copy_run(folder: Path, name: str, *, minute: int = 0, note: str = "", **changes: Any) -> Path:
    """Copy the sample run under a name, as if it had been compiled at a minute of an hour.

    Args:
        folder: the folder of runs.
        note: is added to the instruction that it learned for the route.
        changes: of entries of the manifest.
    """
    copy = folder / name
    folder.mkdir(exist_ok=True)
    shutil.copytree(SAMPLE, copy, ignore=shutil.ignore_patterns("*.jsonl", "*.html"))
    state = read_artifact(copy).state
    route = state["route"]
    data = state.update({"route": route.replace(instruction=route.instruction + note)}).to_bytes()
    (copy / "program.json").write_bytes(data)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest |= {"artifact": hashlib.sha256(data).hexdigest()}
    manifest |= {"started": f"2026-11-26T20:{minute:02}:00+0000", **changes}
    (copy / "manifest.json").write_text(json.dumps(manifest))
    return copy


def reply(request: Request) -> str:
    """Reply to both predictors of the tickets: the team is the note of the run, if it has one."""
    system = request.messages[0].text
    if "Copy the details" in system:
        return "Order: none\nProduct: none\nAmount: none"
    return "shipping" if "Prefer shipping" in system else "billing"


def open_run(folder: Path, name: str = "tickets") -> ServedRun:
    """Open a copy, on a scripted LM."""
    program = bind_artifact(_tickets().program, read_artifact(folder))
    settings = Settings(lmpipe.ScriptedLM(reply), Runtime(), lmpipe.ScriptedLM([]))
    return ServedRun(name, folder.name, program, settings)


@cache
def _tickets() -> lmpipe.Recipe:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)  # where the program finds its metrics
        return load_recipe("programs/tickets.py")


def source_of(folder: Path) -> RunSource:
    """Return the runs of a folder."""
    return RunSource(folder, "tickets", open_run)
