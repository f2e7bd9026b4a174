"""A trainer that learns nothing and says what it was given: weights for tests without a GPU."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from helpers.training import tensors, write_adapter, write_model, write_safetensors

from lmpipe.weights.adapter import read_adapter
from lmpipe.weights.model_folder import model_hash
from lmpipe.weights.trainer import Trained, TrainingJob, TrainingProgress


@dataclass
class ScriptedTrainer:
    """Weights that are made of the hash of their rows and settings.

    Attributes:
        hosted: the name of the model that a provider makes, if it is one that trains.
        reply: what the fake vLLM answers with full weights.
        jobs: the trainings that it was asked for.
        rows: what each of them was to learn.
    """

    hosted: str = ""
    reply: str = ""
    jobs: list[TrainingJob] = field(default_factory=list)
    rows: list[list[dict[str, object]]] = field(default_factory=list)

    def check(self, job: TrainingJob) -> None:
        """Nothing can be wrong."""

    async def train(
        self, job: TrainingJob, on_progress: Callable[[TrainingProgress], None] | None = None
    ) -> Trained:
        data = job.rows.read_bytes()
        self.jobs.append(job)
        self.rows.append([json.loads(line) for line in data.splitlines()])
        settings = json.dumps(job.settings.to_json()).encode()
        return Trained(
            folder=job.folder,
            hash=self._write(job, hashlib.sha256(data + settings).digest()),
            curve=((1, 2.0), (2, 1.0)),
            held_out=((2, 1.5),),
            seconds=0.0,
            base={"model": job.base_model, "revision": "1"},
            model=self.hosted,
        )

    def _write(self, job: TrainingJob, mark: bytes) -> str:
        """The weights, where they are here; gives their hash."""
        if self.hosted:
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
    """The names of the files in a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
