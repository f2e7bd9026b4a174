"""Where a training works, what it is told, and how its result gets into place."""

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
from lmpipe.foundation.atomic_files import FolderLock, write_file
from lmpipe.foundation.canonical_json import digest, pretty_json
from lmpipe.weights.adapter import check_for_vllm, read_adapter
from lmpipe.weights.model_folder import check_model_folder, file_hash, model_hash
from lmpipe.weights.row_file import held_out_rows, read_row_file
from lmpipe.weights.trainer import Trained, TrainingJob

RECORD = "training.json"
LOG = "training.log"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Plan:
    """A job, checked, and named by all that its result depends on.

    Args:
        job: the job.
        base: the `model` and its `revision`.
        rows_hash: the SHA-256 of the rows' file.
        held_out: the positions of the rows held out.
        rows: how many rows there are.
        where: the server that trains; empty for this machine.
    """

    job: TrainingJob
    base: dict[str, str]
    rows_hash: str
    held_out: list[int]
    rows: int
    where: str = ""

    @classmethod
    def of(cls, job: TrainingJob, *, where: str = "") -> Plan:
        """Check a job as far as that can be done without its environment.

        Args:
            job: the job.
            where: the server that trains, which knows base models by names of its own.

        Raises:
            TrainingError: if the base model's folder is none.
            DataError: if a row is no row.
        """
        base = {"model": job.base_model, "revision": ""} if where else base_of(job.base_model)
        rows = read_row_file(job.rows, job.settings.method)
        held_out = held_out_rows(rows, job.settings)
        return cls(job, base, file_hash(job.rows), held_out, len(rows), where)

    @property
    def hash(self) -> str:
        """What two jobs share only if they lead to the same weights."""
        return digest(
            {
                "format": _FORMAT,
                "base": self.base,
                "rows": self.rows_hash,
                "settings": self.job.settings.to_json(),
                "where": self.where,
            }
        )

    @property
    def work(self) -> Path:
        """The folder that it works in, beside its result: the last step is a rename."""
        folder = self.job.folder.absolute()
        return folder.parent / f".{folder.name}.training"

    def to_json(self) -> dict[str, Any]:
        """What the training script is told."""
        name, revision = split_name(self.job.base_model)
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


def base_of(base_model: str) -> dict[str, str]:
    """What a base model is called, and what pins it, as far as that is known here.

    Raises:
        TrainingError: if it is a folder without a model.
    """
    folder = Path(base_model).expanduser()
    if folder.is_dir():
        check_model_folder(folder)
        return {"model": base_model, "revision": f"sha256:{model_hash(folder)}"}
    name, revision = split_name(base_model)
    if folder.is_absolute() or base_model.startswith(("./", "../", "~")) or name.count("/") > 1:
        raise TrainingError(f"the base model {base_model} is missing: there is no such folder")
    return {"model": name, "revision": revision}


def split_name(base_model: str) -> tuple[str, str]:
    """The name and the revision, which is empty if none is given; a folder has none."""
    folder = Path(base_model).expanduser()
    if folder.is_dir():
        return str(folder.absolute()), ""
    name, _, revision = base_model.partition("@")
    return name, revision


@contextmanager
def working(plan: Plan) -> Iterator[Path]:
    """The folder to work in, for this process alone; what another job left there is gone.

    Raises:
        TrainingError: if another process trains there, or the disk does not do its part.
    """
    with disk_errors(plan.work):
        plan.work.mkdir(parents=True, exist_ok=True)
        lock = FolderLock.take(plan.work)
    if lock is None:
        raise TrainingError(
            f"another process trains {plan.job.folder} already: wait for it, or choose another "
            "folder"
        )
    try:
        with disk_errors(plan.work):
            if hash_in(plan.work / "job.json") != plan.hash:
                _empty(plan.work)
            write_file(plan.work / "job.json", pretty_json(plan.to_json()))
        yield plan.work
    finally:
        lock.release()


def hash_in(path: Path) -> str:
    """The hash of the job that a file tells of; empty if there is none."""
    try:
        value = orjson.loads(path.read_bytes())
    except (OSError, ValueError):
        return ""
    return str(value.get("hash", "")) if isinstance(value, dict) else ""


def put_in_place(plan: Plan, outcome: Mapping[str, Any], *, model: str = "") -> Trained:
    """Make what lies in the work folder's `result` into the job's result, at once, and clean up.

    Args:
        plan: the job.
        outcome: the `curve`, `held_out`, `seconds`, `revision` and `versions` of the training.
        model: the hosted model's name, if that is what has the weights.

    Raises:
        TrainingError: if there is nothing that can be served, or the disk does not do its part.
    """
    result, target = plan.work / "result", plan.job.folder.absolute()
    with disk_errors(target):
        result.mkdir(exist_ok=True)
    try:
        weights = hosted_hash(plan, model) if model else weights_hash(result, plan)
    except ArtifactError as error:
        raise TrainingError(f"the training left no weights that can be used: {error}") from error
    record = {
        "format": _FORMAT,
        "hash": plan.hash,
        "weights": weights,
        "model": model,
        "base": {**plan.base, "revision": outcome["revision"] or plan.base["revision"]},
        "rows": {"sha256": plan.rows_hash, "count": plan.rows, "held_out": plan.held_out},
        "settings": plan.job.settings.to_json(),
        "curve": outcome["curve"],
        "held_out": outcome["held_out"],
        "seconds": outcome["seconds"],
        "versions": outcome["versions"],
    }
    with disk_errors(target):
        write_file(result / RECORD, pretty_json(record))
        if (plan.work / LOG).exists():
            shutil.copyfile(plan.work / LOG, result / LOG)
        for file in result.iterdir():
            file.chmod(0o644)  # the server may be another user's
        _swap(result, target, plan.work / "replaced")
    shutil.rmtree(plan.work, ignore_errors=True)
    return _trained(record, target)


def hosted_hash(plan: Plan, model: str) -> str:
    """What stands for the hash of weights that nobody but their host has."""
    return digest({"where": plan.where, "model": model})


def weights_hash(folder: Path, plan: Plan) -> str:
    """The hash of trained weights, which vLLM can serve.

    Raises:
        ArtifactError: if they are none, or vLLM cannot.
        TrainingError: if they cannot be read.
    """
    if plan.job.settings.full:
        check_model_folder(folder)
        return model_hash(folder)
    adapter = read_adapter(folder)
    check_for_vllm(adapter, plan.job.settings.rank)
    return adapter.hash


def finished(plan: Plan) -> Trained | None:
    """The result of this very job, if it is there already.

    Raises:
        TrainingError: if something else is there, which must not be replaced.
    """
    folder = plan.job.folder
    if not folder.exists():
        return None
    if not (folder / RECORD).exists():
        if folder.is_dir() and next(folder.iterdir(), None) is None:
            return None
        raise TrainingError(
            f"{folder} holds something that is no training's result: choose another folder"
        )
    try:
        record = orjson.loads((folder / RECORD).read_bytes())
        if record["hash"] != plan.hash:
            return None
        if not record["model"] and record["weights"] != weights_hash(folder, plan):
            return None
        return _trained(record, folder.absolute())
    except (OSError, ValueError, KeyError, TypeError, ArtifactError, TrainingError):
        return None  # damaged: it is trained anew, and replaced


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Say of a disk's errors what they mean for a training."""
    try:
        yield
    except OSError as error:
        raise TrainingError(
            f"the training cannot write to {folder.parent} ({error.strerror or error}): free space "
            "there or choose another folder, and train again; it goes on where it was"
        ) from error


def _swap(result: Path, target: Path, aside: Path) -> None:
    """Put a folder in another one's place; at no moment is there half of one."""
    if target.exists():
        shutil.rmtree(aside, ignore_errors=True)
        os.rename(target, aside)
    os.rename(result, target)


def _empty(work: Path) -> None:
    for item in work.iterdir():
        if item.name == ".lock":
            continue
        if item.is_dir():
            shutil.rmtree(item)
        else:
            item.unlink()


def _trained(record: dict[str, Any], folder: Path) -> Trained:
    return Trained(
        folder=folder,
        hash=record["weights"],
        curve=tuple((int(step), float(loss)) for step, loss in record["curve"]),
        held_out=tuple((int(step), float(loss)) for step, loss in record["held_out"]),
        seconds=float(record["seconds"]),
        base=record["base"],
        model=record["model"],
    )
