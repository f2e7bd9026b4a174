"""A trainer that trains nothing and keeps its jobs: weights for tests without a GPU."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from helpers.training import tensors, write_adapter, write_model, write_safetensors

from lmpipe.weights.adapter import read_adapter
from lmpipe.weights.model_folder import model_hash
from lmpipe.weights.trainer import TrainingJob, TrainingProgress, TrainingResult


@dataclass
class ScriptedTrainer:
    """Writes weights that are a hash of their rows and settings.

    Attributes:
        model: the name of the provider's model; makes this a hosted trainer.
        reply: what the fake vLLM replies with full weights.
        jobs: the jobs that it was given.
        rows: the rows of each job.
    """

    model: str = ""
    reply: str = ""
    jobs: list[TrainingJob] = field(default_factory=list)
    rows: list[list[dict[str, object]]] = field(default_factory=list)

    @property
    def hosted(self) -> bool:
        return bool(self.model)

    def check(self, job: TrainingJob) -> None:
        """Accept every job."""

    async def train(
        self, job: TrainingJob, on_progress: Callable[[TrainingProgress], None] | None = None
    ) -> TrainingResult:
        data = job.rows.read_bytes()
        self.jobs.append(job)
        self.rows.append([json.loads(line) for line in data.splitlines()])
        settings = json.dumps(job.settings.to_json()).encode()
        return TrainingResult(
            folder=job.folder,
            hash=self._write(job, hashlib.sha256(data + settings).digest()),
            curve=((1, 2.0), (2, 1.0)),
            held_out=((2, 1.5),),
            seconds=0.0,
            base={"model": job.base_model, "revision": "1"},
            model=self.model,
        )

    def _write(self, job: TrainingJob, mark: bytes) -> str:
        """Write the weights, unless they are hosted, and return their hash."""
        if self.model:
            job.folder.mkdir(parents=True)
            return mark.hex()
        if job.settings.full:
            write_model(job.folder, mark[:8])
            (job.folder / "reply.txt").write_text(self.reply)
            return model_hash(job.folder)
        write_adapter(job.folder)
        weights = {
            name: (shape, mark * (len(raw) // 32)) for name, (shape, raw) in tensors().items()
        }
        write_safetensors(job.folder / "adapter_model.safetensors", weights)
        return read_adapter(job.folder).hash


def files(folder: Path) -> set[str]:
    """Return the relative paths of the files in a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
