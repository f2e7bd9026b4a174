"""Read the files of a run folder for display; runs nothing, tolerates a torn last line."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from lmpipe.compiling.run_folder import MANIFEST, PROGRAM, read_manifest
from lmpipe.errors import ArtifactError
from lmpipe.foundation.exact_json import load_json
from lmpipe.optimize.engine.events import STAGE_NOTE
from lmpipe.report import records
from lmpipe.signatures.signature_spec import first_problem
from lmpipe.state.program_state import ProgramState

_R = TypeVar("_R", bound=BaseModel)

_CANDIDATE = re.compile(r"candidate (\d{1,9})", re.ASCII)


@dataclass(frozen=True)
class RunFiles:
    """The contents of a run folder.

    Args:
        candidates: `candidates.jsonl`, in the order of scoring.
        tests: test rows by name (each baseline, and `compiled`), in the data's order.
        state: the learned state, or None while the run has none.
        fresh: what reached an LM in the last run of the compile, or None if it did not finish.
        tools: the uses of tools, from `tools.jsonl`.
        stages: what each stage of a portfolio gained, in sentences; empty for other optimizers.
    """

    folder: Path
    manifest: records.Manifest
    candidates: tuple[records.Candidate, ...]
    tests: Mapping[str, tuple[records.TestRow, ...]]
    state: ProgramState | None
    fresh: records.FreshSpend | None = None
    tools: tuple[records.ToolUse, ...] = ()
    stages: tuple[str, ...] = ()


def read_run(folder: Path) -> RunFiles:
    """Read a run folder.

    Raises:
        ArtifactError: if it is not a run folder, or a file of it is damaged.
    """
    manifest = parse_manifest(read_manifest(folder), folder)
    candidates = tuple(_candidates(folder))
    program = folder / PROGRAM
    state = None
    if program.is_file() and manifest.status == "done":
        state = ProgramState.from_bytes(program.read_bytes(), where=str(program))
    tests = _tests(folder, manifest, candidates)
    return RunFiles(
        folder,
        manifest,
        candidates,
        tests,
        state,
        _fresh(folder),
        _tools(folder),
        tuple(read_stages(folder)),
    )


def parse_manifest(manifest: Mapping[str, Any], folder: Path) -> records.Manifest:
    """Check the fields of a manifest; raise ArtifactError for one that is missing or wrong."""
    return _parse(records.Manifest, manifest, str(folder / MANIFEST))


def parse_summary(manifest: Mapping[str, Any], folder: Path) -> records.RunSummary:
    """Check what a list shows of a manifest; raise ArtifactError for what is missing or wrong."""
    return _parse(records.RunSummary, manifest, str(folder / MANIFEST))


def recorded_score(folder: Path, manifest: Mapping[str, Any], split: str) -> float | None:
    """Return the score of the compiled program on a split as the compile measured it, if it did."""
    if split == "test" and manifest.get("test"):
        return float(manifest["test"]["scores"]["compiled"]["score"])
    if split == "val":
        number = manifest["best"]["number"] if manifest.get("best") else None
        for position, line in enumerate(read_lines(folder / "candidates.jsonl"), start=1):
            if number is not None and line.get("number") == number:
                where = f"{folder / 'candidates.jsonl'}:{position}"
                return _parse(records.Candidate, line, where).score
    return None


def result_rows(run: RunFiles, split: str) -> tuple[records.TestRow, ...]:
    """Return the rows of the compiled program on a split, as the compile scored them, if it did."""
    if split == "test":
        return run.tests.get("compiled", ())
    if split == "train":
        return _rows_of(run.folder, "train")
    best = run.manifest.best
    return _rows_of(run.folder, f"candidate {best.number}") if best else ()


def _rows_of(folder: Path, subject: str) -> tuple[records.TestRow, ...]:
    path = folder / "scores.jsonl"
    return tuple(
        _parse(records.TestRow, line, f"{path}:{number}")
        for number, line in enumerate(read_lines(path), start=1)
        if line.get("subject") == subject
    )


def read_lines(path: Path, *, torn: bool = True) -> Iterator[dict[str, Any]]:
    """Read a JSONL file of a run folder; a missing file has no lines.

    If `torn`, an incomplete last line, as a killed run leaves it, is skipped.

    Raises:
        ArtifactError: if another line is damaged.
    """
    if not path.is_file():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                value = load_json(line)
            except orjson.JSONDecodeError as error:
                if torn and not line.endswith(b"\n"):
                    return
                raise ArtifactError(f"{path}:{number} is damaged: {error}") from error
            if not isinstance(value, dict):
                raise ArtifactError(f"{path}:{number} is damaged: expected an object")
            yield value


def _parse(kind: type[_R], value: Mapping[str, Any], where: str) -> _R:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise ArtifactError(f"{where} is damaged: {first_problem(error)}") from error


def _candidates(folder: Path) -> Iterator[records.Candidate]:
    path, spent = folder / "candidates.jsonl", _spent_by_candidate(folder)
    for number, line in enumerate(read_lines(path), start=1):
        candidate = _parse(records.Candidate, line, f"{path}:{number}")
        yield candidate.model_copy(update=spent.get(candidate.number, {}))


def _spent_by_candidate(folder: Path) -> dict[int, dict[str, float | None]]:
    """Add up what the compile spent up to each candidate's score, rollouts included."""
    spent: dict[int, dict[str, float | None]] = {}
    tokens = 0
    usd: float | None = 0.0
    path = folder / "calls.jsonl"
    for calls, line in enumerate(read_lines(path), start=1):
        call = _parse(records.CallLine, line, f"{path}:{calls}")
        tokens += call.usage.prompt_tokens + call.usage.completion_tokens
        usd = None if usd is None or call.usd is None else usd + call.usd
        if match := _CANDIDATE.fullmatch(call.subject):
            so_far = {"spent": calls, "spent_tokens": tokens, "spent_usd": usd}
            spent[int(match[1])] = so_far
    return spent


def read_calls(folder: Path, subjects: Container[str]) -> Iterator[records.CallLine]:
    """Yield the LM calls of some subjects, such as `test compiled`, in their order.

    Raises:
        ArtifactError: if a line is damaged.
    """
    path = folder / "calls.jsonl"
    for number, line in enumerate(read_lines(path), start=1):
        if str(line.get("subject")) in subjects:
            yield _parse(records.CallLine, line, f"{path}:{number}")


def _fresh(folder: Path) -> records.FreshSpend | None:
    path = folder / "events.jsonl"
    for number, line in enumerate(read_lines(path), start=1):
        if line.get("event") == "spent":
            return _parse(records.FreshSpend, line.get("fresh", {}), f"{path}:{number}")
    return None


def read_stages(folder: Path) -> Iterator[str]:
    """Yield what each stage of a portfolio gained and took, in sentences.

    Raises:
        ArtifactError: if the events of the run are damaged.
    """
    path = folder / "events.jsonl"
    for number, line in enumerate(read_lines(path), start=1):
        if line.get("event") == STAGE_NOTE:
            yield _parse(records.Stage, line, f"{path}:{number}").message


def _tools(folder: Path) -> tuple[records.ToolUse, ...]:
    path = folder / "tools.jsonl"
    lines = enumerate(read_lines(path), start=1)
    return tuple(_parse(records.ToolUse, line, f"{path}:{number}") for number, line in lines)


def _tests(
    folder: Path, manifest: records.Manifest, candidates: tuple[records.Candidate, ...]
) -> dict[str, tuple[records.TestRow, ...]]:
    path = folder / "scores.jsonl"
    found: dict[str, list[records.TestRow]] = {}
    for number, line in enumerate(read_lines(path), start=1):
        kind, _, name = str(line.get("subject")).partition(" ")
        if kind == "test":
            found.setdefault(name, []).append(_parse(records.TestRow, line, f"{path}:{number}"))
    rows = {name: tuple(lines) for name, lines in found.items()}
    if rows and "compiled" not in rows and manifest.best is not None:
        # The compiled program is one of the baselines, which is not run a second time.
        same = [item.name for item in candidates if item.hash == manifest.best.state]
        twin = next((name for name in same if name in rows), None)
        if twin is not None:
            rows["compiled"] = rows[twin]
    return rows
