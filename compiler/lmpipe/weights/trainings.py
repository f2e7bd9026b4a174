"""`Trainings`: weights for a program's predictors, each trained once."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, unquote

import orjson

from lmpipe.errors import TrainingError
from lmpipe.foundation.atomic_files import home_folder, write_file
from lmpipe.foundation.canonical_json import canonical_json
from lmpipe.lm.cache.cache import Cache
from lmpipe.lm.lm import LM
from lmpipe.lm.request import Message, Reply, Request
from lmpipe.lm.runtime import ReplyStore
from lmpipe.state.program_state import AdapterRef, weights_name
from lmpipe.weights.rows import TrainingRow, rows_to_jsonl
from lmpipe.weights.settings import TrainingSettings
from lmpipe.weights.trainer import Trained, Trainer, TrainingJob, TrainingProgress

# In a run folder: a folder for each predictor that was trained, with the rows that it learned.
WEIGHTS, ROWS = "weights", "rows.jsonl"

# What a training gives: an adapter, or the LM that has the weights, as `LM.model` names it.
Weights = AdapterRef | str


class Workplace(Protocol):
    """What surrounds training: the devices that it needs, and whoever serves what it made."""

    def free_devices(self) -> AbstractAsyncContextManager[object]:
        """Keep the devices free of servers while something is trained."""
        ...

    def add_adapter(self, name: str, folder: Path) -> None:
        """Know where the weights of an adapter lie, for when it is asked."""
        ...

    def folder_of(self, weights: Weights) -> Path | None:
        """Where weights lie that it knows of, whoever trained them."""
        ...

    def add_model(self, model: str, folder: Path, *, like: str) -> None:
        """Know where the weights of a whole model lie, and what is served the same way."""
        ...


class Trainings:
    """Trains weights, and remembers what was trained.

    What a training came to is kept like a reply of an LM: with the same rows, settings and base
    model it is not repeated, and a compile that is replayed from a cassette needs no GPU. The
    weights themselves lie in a folder of the user's.

    Args:
        trainer: who trains.
        base: the LM whose weights are trained, or get adapters.
        pinned: what the recipe calls its weights, where that is not the LM's own name, such as a
            hub name with a revision.
        base_model: gives the folder or hub name of its weights.
        place: what surrounds training.
        store: where outcomes are kept, or None.
        elsewhere: whether it is another machine that trains, so that servers here stay up.
        folder: where weights are kept; in the user's cache folder by default.
    """

    def __init__(
        self,
        *,
        trainer: Trainer,
        base: LM,
        pinned: str = "",
        base_model: Callable[[], Awaitable[str]],
        place: Workplace,
        store: ReplyStore | None,
        elsewhere: bool = False,
        folder: Path | None = None,
    ) -> None:
        self._trainer, self._base, self._base_model = trainer, base, base_model
        self._pinned, self._elsewhere = pinned, elsewhere
        self._place, self._store = place, store
        self._folder = folder or adapters_folder()
        self._made: dict[Weights, tuple[Outcome, Path]] = {}

    async def train(
        self,
        label: str,
        rows: Sequence[TrainingRow],
        settings: TrainingSettings,
        on_progress: Callable[[TrainingProgress], None] | None = None,
    ) -> Weights:
        """Weights that were trained on these rows; from an earlier training if there was one.

        Args:
            label: whose weights they are, for their name.
            rows: what to learn.
            settings: how.
            on_progress: told how far it is.

        Raises:
            TrainingError: if it cannot be trained; the same call resumes.
        """
        data = rows_to_jsonl(rows)
        request = self._request(data, settings)
        key = request.key()
        folder = self._folder / key[:32]
        outcome = self._known(key, request, folder)
        if outcome is None:
            outcome = await self._train(folder, data, settings, on_progress)
            if self._store is not None:
                self._store.put(key, request, outcome.to_reply())
        weights = self._placed(label, outcome, folder, full=settings.full)
        self._made[weights] = outcome, folder
        return weights

    def _placed(self, label: str, outcome: Outcome, folder: Path, *, full: bool) -> Weights:
        """What predictors ask, once whoever serves it knows where it lies."""
        if outcome.model:
            return f"{self._base.provider}/{outcome.model}"
        if full:
            model = f"{self._base.provider}/{weights_name(label, outcome.sha256)}"
            self._place.add_model(model, folder, like=self._base.model)
            return model
        adapter = AdapterRef.of(label, outcome.sha256, self._base.model)
        self._place.add_adapter(adapter.name, folder)
        return adapter

    def outcome(self, weights: Weights) -> Outcome | None:
        """What a training came to, if it was asked for here."""
        made = self._made.get(weights)
        return made and made[0]

    def keep(self, weights: Weights, folder: Path) -> bool:
        """Copy weights and the rows that they come from; False if they are not here.

        A replayed compile knows what was trained, but may have no weights. Of a hosted model
        there are its rows.
        """
        made = self._made.get(weights)
        source = made[1] if made else self._place.folder_of(weights)
        if source is None or not (source / ROWS).is_file():
            return False
        part = folder.with_name(f".{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, part, ignore=shutil.ignore_patterns("checkpoint*", "*.log", ".*"))
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(part, folder)
        return True

    def _request(self, rows: bytes, settings: TrainingSettings) -> Request:
        """What a training is told by, where an LM is told by what it is asked."""
        job = {"rows": hashlib.sha256(rows).hexdigest(), "settings": settings.to_json()}
        if self._pinned:
            job["base_model"] = self._pinned
        return Request(
            LM(self._base.model, max_tokens=1),
            (Message("system", "train"), Message("user", canonical_json(job).decode())),
        )

    def _known(self, key: str, request: Request, folder: Path) -> Outcome | None:
        reply = self._store.get(key, request) if self._store is not None else None
        if reply is None:
            return None
        # A cassette tells all that a replay needs; in daily use lost weights are trained again.
        if isinstance(self._store, Cache) and not (folder / ROWS).is_file():
            return None
        return Outcome.from_reply(reply)

    async def _train(
        self,
        folder: Path,
        rows: bytes,
        settings: TrainingSettings,
        on_progress: Callable[[TrainingProgress], None] | None,
    ) -> Outcome:
        source = folder.with_suffix(".rows.jsonl")
        await asyncio.to_thread(_write, source, rows)
        job = TrainingJob(
            base_model=await self._base_model(), rows=source, settings=settings, folder=folder
        )
        self._trainer.check(job)
        async with nullcontext() if self._elsewhere else self._place.free_devices():
            trained = await self._trainer.train(job, on_progress)
        # Last: a folder with its rows in it holds whole weights.
        os.replace(source, folder / ROWS)
        return Outcome.of(trained, rows)


@dataclass(frozen=True)
class Outcome:
    """What a training came to.

    Args:
        sha256: of the weights.
        rows: how many rows it learned from.
        base: the model and revision of the weights that it adds to.
        curve: (step, loss).
        held_out: (step, loss on held-out rows).
        seconds: how long it took.
        model: what a provider calls the model that has the weights; empty for weights in a folder.
    """

    sha256: str
    rows: int
    base: dict[str, Any]
    curve: tuple[tuple[int, float], ...]
    held_out: tuple[tuple[int, float], ...]
    seconds: float
    model: str = ""

    @staticmethod
    def of(trained: Trained, rows: bytes) -> Outcome:
        """The outcome of a training that has ended."""
        return Outcome(
            trained.hash,
            rows.count(b"\n"),
            dict(trained.base),
            tuple(trained.curve),
            tuple(trained.held_out),
            trained.seconds,
            trained.model,
        )

    def to_json(self) -> dict[str, Any]:
        """For manifests: the same for the same training, so no time."""
        left_out = ("seconds",) if self.model else ("seconds", "model")
        return {name: value for name, value in asdict(self).items() if name not in left_out}

    def to_reply(self) -> Reply:
        """As the store keeps it."""
        return Reply(orjson.dumps(self.to_json()).decode(), seconds=self.seconds)

    @staticmethod
    def from_reply(reply: Reply) -> Outcome:
        """Read back what `to_reply` wrote.

        Raises:
            TrainingError: if it is something else.
        """
        try:
            value: dict[str, Any] = orjson.loads(reply.text)
            for name in ("curve", "held_out"):
                value[name] = tuple((int(step), float(loss)) for step, loss in value[name])
            return Outcome(**value, seconds=reply.seconds)
        except (ValueError, TypeError, LookupError) as error:
            raise TrainingError(
                f"what was kept of an earlier training cannot be read ({error}): clear the cache "
                "with `lmpipe cache clear`, and run the same command again"
            ) from error


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, data)


def adapters_folder() -> Path:
    """Where trained weights are kept: in $LMPIPE_HOME or in the user's cache folder."""
    return home_folder() / "adapters"


def folder_name(predictor: str) -> str:
    """A predictor's path as the name of a folder or file; any text may be a key in it."""
    return quote(predictor, safe="[]")


def predictor_named(folder: str) -> str:
    """The predictor's path that `folder_name` made the name of."""
    return unquote(folder)
