"""`Trainings`: trains weights for a program's predictors, each set of weights once."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from lmpipe.foundation.atomic_files import write_file
from lmpipe.foundation.storing import storing
from lmpipe.lm.lm import LM
from lmpipe.state.program_state import AdapterRef, weights_name
from lmpipe.weights.rows import RowChoice, TrainingRow, rows_to_jsonl
from lmpipe.weights.settings import TrainingSettings
from lmpipe.weights.trainer import Trainer, TrainingJob, TrainingProgress
from lmpipe.weights.training_store import ROWS, TrainingRecord, TrainingStore

if TYPE_CHECKING:
    from lmpipe.serving.served import ServedLMs

# The folder in a run folder that holds a folder of weights for each trained predictor.
WEIGHTS = "weights"

# The result of a training: an adapter, or the LM with the weights, as `LM.model` names it.
Weights = AdapterRef | str


class Trainings:
    """Trains weights, unless they were trained before.

    Equal rows, settings and base model give the weights of an earlier training, and a compile
    that is replayed from a cassette trains nothing.

    Args:
        base: the LM whose weights are trained, or get adapters.
        base_name: the name of its weights in the recipe, such as a hub name with a revision;
            empty if that is the LM's name.
        find_base_model: returns the folder or hub name of its weights.
    """

    def __init__(
        self,
        *,
        trainer: Trainer,
        base: LM,
        base_name: str = "",
        find_base_model: Callable[[], Awaitable[str]],
        servers: ServedLMs,
        store: TrainingStore,
    ) -> None:
        self._trainer, self._servers, self._store = trainer, servers, store
        self._base, self._base_name, self._find_base_model = base, base_name, find_base_model
        self._finished: dict[Weights, tuple[TrainingRecord, Path]] = {}
        self._choices: dict[Weights, RowChoice] = {}

    async def train(
        self,
        label: str,
        rows: Sequence[TrainingRow],
        settings: TrainingSettings,
        on_progress: Callable[[TrainingProgress], None] | None = None,
        *,
        choice: RowChoice | None = None,
    ) -> Weights:
        """Train weights on rows, or return those of an earlier training.

        `label` is the first part of the weights' name, such as a predictor's path; `choice` says
        how the rows were chosen. If training fails, the same call resumes it.
        """
        data = rows_to_jsonl(rows)
        job = self._identify(data, settings)
        folder = self._store.folder_of(job)
        record = self._store.find(job)
        if record is None:
            source = folder.with_suffix(".rows.jsonl")
            await asyncio.to_thread(_write, source, data)
            base_model = await self._find_base_model()
            training = TrainingJob(base_model, source, settings, folder)
            self._trainer.check(training)
            async with nullcontext() if self._trainer.hosted else self._servers.free_devices():
                result = await self._trainer.train(training, on_progress)
            record = TrainingRecord.of(result, data)
            self._store.save(job, record, source)
        weights = self._register(label, record, folder, full=settings.full)
        self._finished[weights] = record, folder
        if choice is not None:
            self._choices[weights] = choice
        return weights

    def record_of(self, weights: Weights) -> TrainingRecord | None:
        """Return the record of weights that were requested from this object."""
        finished = self._finished.get(weights)
        return finished and finished[0]

    def choice_of(self, weights: Weights) -> RowChoice | None:
        """Return how the rows of weights were chosen, if they were."""
        return self._choices.get(weights)

    def copy_weights(self, weights: Weights, folder: Path) -> bool:
        """Copy weights and their rows to a folder; of a hosted model, only the rows.

        Returns False if they are not on this machine: a replayed compile may have none.
        """
        finished = self._finished.get(weights)
        source = finished[1] if finished else self._servers.folder_of(weights)
        if source is None or not (source / ROWS).is_file():
            return False
        part = folder.with_name(f".{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        with storing(folder):
            part.parent.mkdir(parents=True, exist_ok=True)
            copied = shutil.ignore_patterns("checkpoint*", "*.log", ".*")
            shutil.copytree(source, part, ignore=copied)
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(part, folder)
        return True

    def _identify(self, rows: bytes, settings: TrainingSettings) -> dict[str, Any]:
        return {
            "model": self._base.model,
            "rows": hashlib.sha256(rows).hexdigest(),
            "settings": settings.to_json(),
            **({"base_model": self._base_name} if self._base_name else {}),
        }

    def _register(self, label: str, record: TrainingRecord, folder: Path, *, full: bool) -> Weights:
        """Register weights with the servers, and return what predictors refer to."""
        if record.model:
            return f"{self._base.provider}/{record.model}"
        if full:
            model = f"{self._base.provider}/{weights_name(label, record.sha256)}"
            self._servers.add_model(model, folder, like=self._base.model)
            return model
        adapter = AdapterRef.of(label, record.sha256, self._base.model)
        self._servers.add_adapter(adapter.name, folder)
        return adapter


def _write(path: Path, data: bytes) -> None:
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, data)


def folder_name(predictor: str) -> str:
    """Encode a predictor's path, which may contain any text, as a file name."""
    return quote(predictor, safe="[]")


def predictor_named(folder: str) -> str:
    """Decode what `folder_name` encoded."""
    return unquote(folder)
