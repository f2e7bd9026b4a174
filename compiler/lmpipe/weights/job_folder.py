"""A training job's work folder: prepare the job, lock the folder, and install the result."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from lmpipe.errors import ArtifactError, TrainingError
from lmpipe.foundation.atomic_files import FolderLock, make_readable, write_file
from lmpipe.foundation.canonical_json import digest, pretty_json
from lmpipe.foundation.file_hash import file_sha256
from lmpipe.weights.adapter import check_for_vllm, read_adapter
from lmpipe.weights.model_folder import check_model_folder, model_hash
from lmpipe.weights.row_file import held_out_rows, read_row_file
from lmpipe.weights.trainer import TrainingJob, TrainingResult

RECORD = "training.json"
LOG = "training.log"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class PreparedJob:
    """A job whose inputs are read, checked and hashed.

    It has the base `model` and its `revision`, the number of rows, and the positions of those that
    are held out. `server` is the URL of the server that trains; empty for this machine.
    """

    job: TrainingJob
    base: dict[str, str]
    rows_hash: str
    held_out: list[int]
    rows: int
    server: str = ""

    @property
    def hash(self) -> str:
        """The hash of everything that the result depends on."""
        return digest(
            {
                "format": _FORMAT,
                "base": self.base,
                "rows": self.rows_hash,
                "settings": self.job.settings.to_json(),
                "where": self.server,
            }
        )

    @property
    def work(self) -> Path:
        """The work folder; it is beside the result, so that the last step is a rename."""
        folder = self.job.folder.absolute()
        return folder.parent / f".{folder.name}.training"

    def to_json(self) -> dict[str, Any]:
        """Return the input of the training script."""
        name, revision = _split_revision(self.job.base_model)
        return {
            "hash": self.hash,
            "base_model": name,
            "asked_revision": revision or "main",
            "revision": self.base["revision"],
            "rows": str(self.job.rows.absolute()),
            "held_out": self.held_out,
            "work": str(self.work),
            "settings": self.job.settings.to_json(),
        }


def prepare_job(job: TrainingJob, *, server: str = "") -> PreparedJob:
    """Check a job as far as possible without a training environment.

    A `server` that trains has its own model names. Raises a TrainingError if the base model's
    folder is missing or not valid, and a DataError if a row is not valid.
    """
    base = {"model": job.base_model, "revision": ""} if server else _identify_base(job.base_model)
    rows = read_row_file(job.rows, job.settings.method)
    held_out = held_out_rows(rows, job.settings)
    return PreparedJob(job, base, file_sha256(job.rows), held_out, len(rows), server)


def _identify_base(base_model: str) -> dict[str, str]:
    folder = Path(base_model).expanduser()
    if folder.is_dir():
        check_model_folder(folder)
        return {"model": base_model, "revision": f"sha256:{model_hash(folder)}"}
    name, revision = _split_revision(base_model)
    if folder.is_absolute() or base_model.startswith(("./", "../", "~")) or name.count("/") > 1:
        raise TrainingError(f"the base model {base_model} is missing: no such folder exists")
    return {"model": name, "revision": revision}


def _split_revision(base_model: str) -> tuple[str, str]:
    """Split `name@revision`; the revision of a folder, and a missing one, is empty."""
    folder = Path(base_model).expanduser()
    if folder.is_dir():
        return str(folder.absolute()), ""
    name, _, revision = base_model.partition("@")
    return name, revision


@contextmanager
def open_work_folder(prepared: PreparedJob) -> Iterator[Path]:
    """Lock and yield a job's work folder; files of another job in it are deleted first."""
    work = prepared.work
    with disk_errors(work):
        work.mkdir(parents=True, exist_ok=True)
        lock = FolderLock.take(work)
    if lock is None:
        raise TrainingError(
            f"another process is already training {prepared.job.folder}: wait for it, or choose "
            "another folder"
        )
    try:
        with disk_errors(work):
            if read_object(work / "job.json").get("hash") != prepared.hash:
                for item in work.iterdir():
                    if item.is_dir():
                        shutil.rmtree(item)
                    elif item.name != ".lock":
                        item.unlink()
            write_file(work / "job.json", pretty_json(prepared.to_json()))
        yield work
    finally:
        lock.release()


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object; empty if the file is missing or damaged."""
    try:
        value = orjson.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def install_result(
    prepared: PreparedJob, outcome: Mapping[str, Any], *, model: str = ""
) -> TrainingResult:
    """Check the work folder's `result`, rename it to the job's folder and clean up.

    `outcome` has the `curve`, `held_out`, `seconds`, `revision` and `versions` of the training;
    `model` is the hosted model's name, if a provider has the weights. Raises a TrainingError if
    there are no weights that vLLM can serve, or the disk cannot be written.
    """
    result, target = prepared.work / "result", prepared.job.folder.absolute()
    with disk_errors(target):
        result.mkdir(exist_ok=True)
    try:
        # Weights that only their provider has are identified by their name.
        hosted = {"where": prepared.server, "model": model}
        weights = digest(hosted) if model else _weights_hash(result, prepared)
    except ArtifactError as error:
        raise TrainingError(f"the training left no usable weights: {error}") from error
    record = {
        "format": _FORMAT,
        "hash": prepared.hash,
        "weights": weights,
        "model": model,
        "base": {**prepared.base, "revision": outcome["revision"] or prepared.base["revision"]},
        "rows": {
            "sha256": prepared.rows_hash,
            "count": prepared.rows,
            "held_out": prepared.held_out,
        },
        "settings": prepared.job.settings.to_json(),
        **{name: outcome[name] for name in ("curve", "held_out", "seconds", "versions")},
    }
    with disk_errors(target):
        write_file(result / RECORD, pretty_json(record))
        if (prepared.work / LOG).exists():
            shutil.copyfile(prepared.work / LOG, result / LOG)
        for file in list(result.iterdir()):
            make_readable(file)  # the server may run as another user
        if target.exists():  # replaced by renaming, so that it is never half written
            shutil.rmtree(prepared.work / "replaced", ignore_errors=True)
            os.rename(target, prepared.work / "replaced")
        os.rename(result, target)
    shutil.rmtree(prepared.work, ignore_errors=True)
    return _result(record, target)


def _weights_hash(folder: Path, prepared: PreparedJob) -> str:
    """Hash trained weights, and check that vLLM can serve them."""
    if prepared.job.settings.full:
        check_model_folder(folder)
        return model_hash(folder)
    adapter = read_adapter(folder)
    check_for_vllm(adapter, prepared.job.settings.rank)
    return adapter.hash


def find_result(prepared: PreparedJob) -> TrainingResult | None:
    """Return the result of this job, if its folder has it; nothing else may be in the folder."""
    folder = prepared.job.folder
    if not folder.exists():
        return None
    if not (folder / RECORD).exists():
        if folder.is_dir() and next(folder.iterdir(), None) is None:
            return None
        raise TrainingError(
            f"{folder} holds something other than a training's result: choose another folder"
        )
    try:
        record = orjson.loads((folder / RECORD).read_bytes())
        if record["hash"] != prepared.hash:
            return None
        if not record["model"] and record["weights"] != _weights_hash(folder, prepared):
            return None
        return _result(record, folder.absolute())
    except (OSError, ValueError, KeyError, TypeError, ArtifactError, TrainingError):
        return None  # damaged: train again and replace it


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn an OSError into a TrainingError with a remedy."""
    try:
        yield
    except OSError as error:
        raise TrainingError(
            f"the training cannot write to {folder.parent} ({error.strerror or error}): free space "
            "there or choose another folder, and train again; it resumes where it stopped"
        ) from error


def _result(record: Mapping[str, Any], folder: Path) -> TrainingResult:
    return TrainingResult(
        folder=folder,
        hash=record["weights"],
        curve=tuple((int(step), float(loss)) for step, loss in record["curve"]),
        held_out=tuple((int(step), float(loss)) for step, loss in record["held_out"]),
        seconds=float(record["seconds"]),
        base=record["base"],
        model=record["model"],
    )
