"""Write run folders during a compile, and read them back without running code."""

from __future__ import annotations

import contextlib
import hashlib
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from lmpipe.errors import ArtifactError, LmpipeError, StorageError
from lmpipe.evaluation.results import Row
from lmpipe.foundation.atomic_files import FolderLock, write_file
from lmpipe.foundation.canonical_json import pretty_json, record_json
from lmpipe.foundation.exact_json import load_json
from lmpipe.foundation.line_file import LineFile
from lmpipe.foundation.media import with_hashes
from lmpipe.foundation.storing import storing
from lmpipe.optimize.engine.events import Candidate, Progress, Rollout
from lmpipe.state.program_state import ProgramState

MANIFEST = "manifest.json"
PROGRAM = "program.json"
MANIFEST_FORMAT = 1

_RESERVE, _RESERVED = ".reserve", 2**16  # bytes
# Files of what happened, which may hold each image many times.
_WITHOUT_BYTES = ("scores.jsonl", "tools.jsonl", "traces.jsonl")
_MAX_NAME = 80  # characters of a recipe's name in a folder's name


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
    if not _describes_program(manifest):
        raise ArtifactError(f"{folder / MANIFEST} is damaged: it does not describe a program")
    data = (folder / PROGRAM).read_bytes()
    if hashlib.sha256(data).hexdigest() != manifest.get("artifact"):
        raise ArtifactError(
            f"{folder / PROGRAM} does not match {MANIFEST}: one of the two was changed\n"
            "  restore the folder, or compile again"
        )
    return Artifact(folder, manifest, ProgramState.from_bytes(data, where=str(folder / PROGRAM)))


def _describes_program(manifest: Mapping[str, Any]) -> bool:
    """Whether what the loading of a program relies on has the right types."""
    program = manifest.get("program", {})
    if not isinstance(program, dict) or not isinstance(manifest.get("overrides", {}), dict):
        return False
    instructions = program.get("instructions", {})
    return (
        isinstance(program.get("signatures", {}), dict)
        and isinstance(program.get("folder", ""), str)
        and isinstance(instructions, dict)
        and all(isinstance(text, str) for text in instructions.values())
    )


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
    ending = f"-{re.sub(r'[^A-Za-z0-9_.-]+', '-', name)[:_MAX_NAME]}-{identity_hash[:8]}"
    with storing(root):
        root.mkdir(parents=True, exist_ok=True)
    for folder in sorted(root.glob(f"*{ending}"), reverse=True):
        # A folder in which another process works has its lock.
        if not folder.is_symlink() and _unfinished(folder) and (lock := FolderLock.take(folder)):
            return folder, lock
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for attempt in range(1000):
        folder = root / (f"{stamp}{f'.{attempt}' if attempt else ''}{ending}")
        with storing(folder):
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
    so writes the same lines. `manifest` has the entries that are known at the start. Whatever
    cannot be written is a StorageError.
    """

    def __init__(self, folder: Path, lock: FolderLock, manifest: Mapping[str, Any]) -> None:
        self.folder = folder
        self._lock = lock
        self.manifest = {"format": MANIFEST_FORMAT, **manifest}
        self._files: dict[str, LineFile] = {}
        with storing(folder):
            for stale in folder.iterdir():
                # lmpipe makes no links: what they lead to is not part of the run.
                if stale.suffix == ".jsonl" or stale.is_symlink():
                    stale.unlink()
        write_file(folder / _RESERVE, bytes(_RESERVED))
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

    def stop(self, status: str, error: Exception | None = None) -> None:
        """Write how the compile ended without a result, in the room that is kept for it."""
        changes = {"status": status}
        if error is not None:
            name = "" if isinstance(error, LmpipeError) else f"{type(error).__name__}: "
            changes["error"] = f"{name}{error}"
        try:
            self._release_reserve()
            self.update(**changes)
        except StorageError:
            if error is None:
                raise
            # The first error says more than this one, which would take its place.

    def close(self) -> None:
        """Close the files and release the folder's lock."""
        for file in self._files.values():
            file.close()
        self._files.clear()
        self._release_reserve()
        self._lock.release()

    def _release_reserve(self) -> None:
        """Give back the room that is kept for the manifest of a compile that fails."""
        with contextlib.suppress(OSError):
            (self.folder / _RESERVE).unlink(missing_ok=True)

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
            **candidate.per_run(),
            "spend": evaluation.spend.to_json(),
        }
        self._append("candidates.jsonl", line)
        event = {"number": candidate.number, "score": candidate.score}
        self.note("candidate", {**event, "examples": len(evaluation.rows), **standing})

    def rollout(self, rollout: Rollout) -> None:
        self._append("traces.jsonl", rollout.to_json())
        self._record_uses("rollout", rollout.row)

    def row(self, subject: str, row: Row) -> None:
        self._append("scores.jsonl", {"subject": subject, **row.to_json()})
        self._record_uses(subject, row)

    def note(self, kind: str, data: Mapping[str, Any]) -> None:
        self._append("events.jsonl", {"time": time.time(), "event": kind, **data})

    def _record_uses(self, subject: str, row: Row) -> None:
        """Write what a row used: its LM calls and its runs of tools."""
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
        for tool in row.trace.tools:
            line = {"subject": subject, "index": row.index, **tool.to_json()}
            line |= {"source": tool.source, "seconds": tool.seconds}
            self._append("tools.jsonl", line)

    def _append(self, name: str, value: Any) -> None:
        if name not in self._files:
            self._files[name] = LineFile(self.folder / name)
        line = record_json(value)
        if name in _WITHOUT_BYTES and b'"data":"' in line:
            line = record_json(with_hashes(value))
        self._files[name].append(line)
