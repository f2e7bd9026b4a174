"""A run folder's files, read for people: nothing is run, torn last lines are left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from lmpipe.compiling.run_folder import PROGRAM, read_manifest
from lmpipe.errors import ArtifactError
from lmpipe.state.program_state import ProgramState


@dataclass(frozen=True)
class RunFiles:
    """What a run folder says.

    Args:
        folder: the folder.
        manifest: `manifest.json`.
        candidates: `candidates.jsonl`, each with `spent`: the LM calls up to its score.
        tests: test rows by name: of each baseline and of `compiled`, in the data's order.
        notes: `events.jsonl` without what the candidates say.
        state: what was learned, or None while the run goes on.
        fresh: what reached an LM when the run was finished, or None.
    """

    folder: Path
    manifest: Mapping[str, Any]
    candidates: tuple[Mapping[str, Any], ...]
    tests: Mapping[str, tuple[Mapping[str, Any], ...]]
    notes: tuple[Mapping[str, Any], ...]
    state: ProgramState | None
    fresh: Mapping[str, Any] | None = None


def read_run(folder: Path) -> RunFiles:
    """Read a run folder.

    Raises:
        ArtifactError: if it is none, or a file of it is damaged.
    """
    manifest = read_manifest(folder)
    spent = _spent(folder)
    candidates = tuple(
        {**line, "spent": spent.get(line["number"], 0)}
        for line in read_lines(folder / "candidates.jsonl")
    )
    program = folder / PROGRAM
    state = None
    if program.is_file() and manifest.get("status") == "done":
        state = ProgramState.from_bytes(program.read_bytes(), where=str(program))
    events = list(read_lines(folder / "events.jsonl"))
    return RunFiles(
        folder,
        manifest,
        candidates,
        _tests(folder, manifest, candidates),
        tuple(line for line in events if line["event"] not in ("candidate", "spent")),
        state,
        next((line["fresh"] for line in events if line["event"] == "spent"), None),
    )


def recorded_score(folder: Path, manifest: Mapping[str, Any], split: str) -> float | None:
    """The score of the compiled program on a split as the compile measured it, if it did."""
    if split == "test" and manifest.get("test"):
        return float(manifest["test"]["scores"]["compiled"]["score"])
    if split == "val":
        number = manifest["best"]["number"]
        for line in read_lines(folder / "candidates.jsonl"):
            if line["number"] == number:
                return float(line["score"])
    return None


def read_lines(path: Path, *, torn: bool = True) -> Iterator[dict[str, Any]]:
    """Read a JSONL file of a run folder; a file that is not there has no lines.

    Args:
        path: the file.
        torn: leave out a last line that broke off, as a run that is killed leaves it.

    Raises:
        ArtifactError: if another line is damaged.
    """
    if not path.is_file():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                value = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                if torn and not line.endswith(b"\n"):
                    return
                raise ArtifactError(f"{path}:{number} is damaged: {error}") from error
            if not isinstance(value, dict):
                raise ArtifactError(f"{path}:{number} is damaged: expected an object")
            yield value


def _spent(folder: Path) -> dict[int, int]:
    """LM calls made up to each candidate's score, rollouts in between included."""
    spent: dict[int, int] = {}
    for calls, line in enumerate(read_lines(folder / "calls.jsonl"), start=1):
        kind, _, number = str(line.get("subject", "")).partition(" ")
        if kind == "candidate" and number.isdigit():
            spent[int(number)] = calls
    return spent


def _tests(
    folder: Path, manifest: Mapping[str, Any], candidates: tuple[Mapping[str, Any], ...]
) -> dict[str, tuple[Mapping[str, Any], ...]]:
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for line in read_lines(folder / "scores.jsonl"):
        kind, _, name = str(line["subject"]).partition(" ")
        if kind == "test":
            rows.setdefault(name, []).append(line)
    if "compiled" not in rows and rows:
        # What was learned is a baseline, which is not run twice.
        learned = manifest.get("best", {}).get("state")
        same = [item["name"] for item in candidates if item["hash"] == learned]
        twin = next((item for item in same if item in rows), None)
        if twin is not None:
            rows["compiled"] = rows[twin]
    return {name: tuple(lines) for name, lines in rows.items()}
