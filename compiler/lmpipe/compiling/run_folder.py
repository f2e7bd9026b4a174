"""Write run folders during a compile, and read them back without running code."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import orjson

from lmpipe.errors import ArtifactError
from lmpipe.evaluation.results import Row
from lmpipe.foundation.atomic_files import FolderLock, write_file
from lmpipe.foundation.canonical_json import canonical_json, pretty_json
from lmpipe.foundation.exact_json import load_json
from lmpipe.optimize.engine.events import Candidate, Progress, Rollout
from lmpipe.state.program_state import ProgramState

MANIFEST = "manifest.json"
PROGRAM = "program.json"
MANIFEST_FORMAT = 1


@dataclass(frozen=True)
class Artifact:
    """A run folder that was read and checked: its manifest and the learned state."""

    path: Path
    manifest: Mapping[str, Any]
    state: ProgramState


def read_artifact(path: str | Path) -> Artifact:
    """Read the folder of a finished run, and check that its files belong together."""
    folder = Path(path)
    manifest = read_manifest(folder)
    # An interrupted compile saves its best candidate so far.
    complete = manifest.get("status") in ("done", "interrupted") and "artifact" in manifest
    if not complete or not (folder / PROGRAM).is_file():
        raise ArtifactError(
            f"{folder} holds no finished compile (status: {manifest.get('status')}): run the same "
            "compile command again to resume it"
        )
    data = (folder / PROGRAM).read_bytes()
    if hashlib.sha256(data).hexdigest() != manifest.get("artifact"):
        raise ArtifactError(
            f"{folder / PROGRAM} does not match {MANIFEST}: one of the two was changed\n"
            "  restore the folder, or compile again"
        )
    return Artifact(folder, manifest, ProgramState.from_bytes(data, where=str(folder / PROGRAM)))


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read a run folder's manifest; an ArtifactError says that it is missing or damaged."""
    file = folder / MANIFEST
    if not file.is_file():
        raise ArtifactError(
            f"{folder} is not a run folder: it has no {MANIFEST}; `lmpipe runs` lists run folders"
        )
    try:
        manifest = load_json(file.read_bytes())
        version = manifest["format"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise ArtifactError(f"{file} is damaged: {error}") from error
    if version != MANIFEST_FORMAT:
        raise ArtifactError(
            f"{file} has format {version}; this lmpipe reads format {MANIFEST_FORMAT}"
        )
    return dict(manifest)


def open_run(root: Path, name: str, identity_hash: str) -> tuple[Path, FolderLock]:
    """Lock and return the folder of a run: an unfinished one of the same recipe, or a new one."""
    ending = f"-{re.sub(r'[^A-Za-z0-9_.-]+', '-', name)}-{identity_hash[:8]}"
    root.mkdir(parents=True, exist_ok=True)
    for folder in sorted(root.glob(f"*{ending}"), reverse=True):
        # A folder in which another process works has its lock.
        if _unfinished(folder) and (lock := FolderLock.take(folder)):
            return folder, lock
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for attempt in range(1000):
        folder = root / (f"{stamp}{f'.{attempt}' if attempt else ''}{ending}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        if lock := FolderLock.take(folder):
            return folder, lock
    raise ArtifactError(f"cannot create a run folder in {root}: too many have the same name")


def _unfinished(folder: Path) -> bool:
    try:
        return (folder / MANIFEST).is_file() and read_manifest(folder).get("status") != "done"
    except ArtifactError:
        return False


class RunWriter:
    """Writes a run folder while the compile runs.

    A resumed run writes the files again from the start: it replays its calls from the cache and
    so writes the same lines. `manifest` has the entries that are known at the start.
    """

    def __init__(self, folder: Path, lock: FolderLock, manifest: Mapping[str, Any]) -> None:
        self.folder = folder
        self._lock = lock
        self.manifest = {"format": MANIFEST_FORMAT, **manifest}
        self._files: dict[str, IO[bytes]] = {}
        for stale in folder.glob("*.jsonl"):
            stale.unlink()
        self.update(status="running")

    def update(self, **changes: Any) -> None:
        """Change entries of the manifest."""
        self.manifest.update(changes)
        # Unsorted, so that the fields of a signature keep their declared order.
        write_file(self.folder / MANIFEST, pretty_json(self.manifest, sort_keys=False))

    def finish(self, state: ProgramState, **changes: Any) -> None:
        """Write the learned state, then the manifest with its hash."""
        data = state.to_bytes()
        write_file(self.folder / PROGRAM, data)
        self.update(artifact=hashlib.sha256(data).hexdigest(), **changes)

    def close(self) -> None:
        """Close the files and release the folder's lock."""
        for file in self._files.values():
            file.close()
        self._files.clear()
        self._lock.release()

    def progress(self, progress: Progress) -> None:
        """Progress is not written."""

    def candidate(self, candidate: Candidate, *, best: bool) -> None:
        evaluation, standing = candidate.evaluation, candidate.standing()
        line = {
            "number": candidate.number,
            "name": candidate.name,
            "state": candidate.state.to_json(),
            "hash": candidate.state.hash,
            "best": best,
            **standing,
            **evaluation.summary(),
            "spend": evaluation.spend.to_json(),
        }
        self._append("candidates.jsonl", line)
        event = {"number": candidate.number, "score": candidate.score}
        self.note("candidate", {**event, "examples": len(evaluation.rows), **standing})

    def rollout(self, rollout: Rollout) -> None:
        self._append("traces.jsonl", rollout.to_json())
        self._calls("rollout", rollout.row)

    def row(self, subject: str, row: Row) -> None:
        self._append("scores.jsonl", {"subject": subject, **row.to_json()})
        self._calls(subject, row)

    def note(self, kind: str, data: Mapping[str, Any]) -> None:
        self._append("events.jsonl", {"time": time.time(), "event": kind, **data})

    def _calls(self, subject: str, row: Row) -> None:
        for call in row.calls:
            line = {
                "subject": subject,
                "index": row.index,
                "role": call.role,
                "predictor": call.label,
                "lm": call.lm,
                "key": call.key,
                "usage": call.reply.usage.to_json(),
                "usd": call.usd,
                "seconds": call.reply.seconds,
                "waited": call.waited,
                "attempts": call.reply.attempts,
                "cached": call.reply.cached,
            }
            self._append("calls.jsonl", line)

    def _append(self, name: str, value: Any) -> None:
        if name not in self._files:
            self._files[name] = (self.folder / name).open("wb")
        self._files[name].write(canonical_json(value) + b"\n")
        self._files[name].flush()
