"""`Trainer`: the protocol of everything that trains weights, locally or at a provider."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lmpipe.weights.settings import TrainingSettings

Curve = tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """One training: the base model, the rows, the settings and the result's folder.

    Args:
        base_model: a Hugging Face folder or a hub name, with a revision if there is one:
            `owner/name@revision`. A hosted trainer has its own model names.
        rows: a JSONL file of rows with `prompt` and `completion`, or for `dpo` with `prompt`,
            `chosen` and `rejected`, each a list of turns with `role` and `content`.
        settings: how to train.
        folder: the folder of the result; it appears complete or not at all.
    """

    base_model: str
    rows: Path
    settings: TrainingSettings
    folder: Path


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """The progress of a training.

    Args:
        step: the number of finished steps.
        steps: the total number of steps; 0 while it is unknown.
        loss: the loss of the last step.
        held_out_loss: the last loss on the held-out rows.
        seconds_left: the estimated time left, if known.
    """

    step: int
    steps: int
    loss: float | None = None
    held_out_loss: float | None = None
    seconds_left: float | None = None


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """Trained weights in a folder, or the name of a hosted model that has them.

    Args:
        folder: the files, with `training.json` on how they were trained.
        hash: the hash of the weights.
        curve: the loss after each logged step.
        held_out: the loss on the held-out rows, after each evaluated step.
        seconds: how long the training took, over all its attempts.
        base: the `model` that was trained and its `revision`.
        model: the hosted model's name; empty for weights in a folder.
    """

    folder: Path
    hash: str
    curve: Curve
    held_out: Curve
    seconds: float
    base: Mapping[str, str]
    model: str = ""


OnProgress = Callable[[TrainingProgress], None]


class Trainer(Protocol):
    """Trains weights."""

    @property
    def hosted(self) -> bool:
        """Whether a provider trains: the result is a model's name, and no local GPU is needed."""
        ...

    def check(self, job: TrainingJob) -> None:
        """Check a job before anything is spent on it.

        Raises:
            TrainingError: if this trainer cannot do it, or not on this machine.
            RecipeError: if it does not support the settings.
            DataError: if a row is not valid.
        """
        ...

    async def train(
        self, job: TrainingJob, on_progress: OnProgress | None = None
    ) -> TrainingResult:
        """Train, or resume an interrupted training of the same job.

        Args:
            job: the job.
            on_progress: called after each step.

        Raises:
            TrainingError: if training fails; what is needed to resume is kept.
            RecipeError: if it does not support the settings.
            DataError: if a row is not valid.
        """
        ...
