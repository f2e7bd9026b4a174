"""`Trainer`: what trains weights, whoever does it and wherever."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from lmpipe.weights.settings import TrainingSettings

Curve = tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """What is to be trained, on what, and where the result goes.

    Args:
        base_model: the model that is trained on: a Hugging Face folder, or a hub name, with a
            revision if there is one: `owner/name@revision`. A hosted trainer takes its own names.
        rows: a JSONL file of rows with `prompt` and `completion`, or `prompt`, `chosen` and
            `rejected` for `dpo`, each a list of turns with `role` and `content`.
        settings: how to train.
        folder: where the result goes; it is there whole, or not at all.
    """

    base_model: str
    rows: Path
    settings: TrainingSettings
    folder: Path


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """How far a training is.

    Args:
        step: steps done.
        steps: steps in all; 0 as long as that is not known.
        loss: the loss of the last step.
        held_out_loss: the last loss on the rows held out.
        seconds_left: how long the rest will take, as far as that can be told.
    """

    step: int
    steps: int
    loss: float | None = None
    held_out_loss: float | None = None
    seconds_left: float | None = None


@dataclass(frozen=True, slots=True)
class Trained:
    """Trained weights, or the name of a hosted model that has them.

    Args:
        folder: the files, with `training.json` about how they came to be.
        hash: the weights' hash.
        curve: the loss after each step that was noted.
        held_out: the loss on the rows held out, after each step at which they were looked at.
        seconds: how long the training took, over all its attempts.
        base: the `model` that was trained on, and its `revision`.
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


@runtime_checkable
class Trainer(Protocol):
    """Trains weights."""

    def check(self, job: TrainingJob) -> None:
        """Find out what can be told before anything is spent.

        Raises:
            TrainingError: if the trainer cannot do it, or not here.
            RecipeError: if the settings ask for what it does not have.
            DataError: if a row is no row.
        """
        ...

    async def train(self, job: TrainingJob, on_progress: OnProgress | None = None) -> Trained:
        """Train, or go on with a training of the same job that was broken off.

        Args:
            job: what to train.
            on_progress: told after each step.

        Raises:
            TrainingError: if there is no result; what is needed to go on is kept.
            RecipeError: if the settings ask for what it does not have.
            DataError: if a row is no row.
        """
        ...
