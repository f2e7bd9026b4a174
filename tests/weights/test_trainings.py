"""`Trainings`: what is trained again and what is not, and what has to make room for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from helpers.trainer import ScriptedTrainer

import lmpipe
from lmpipe.lm.cache.cache import Cache
from lmpipe.lm.request import Message
from lmpipe.weights.rows import TrainingRow
from lmpipe.weights.settings import TrainingSettings
from lmpipe.weights.trainings import Trainings, Weights


@dataclass
class Place:
    """A machine that notes what it is told."""

    freed: int = 0
    models: dict[str, Path] = field(default_factory=dict)

    def free_devices(self) -> AbstractAsyncContextManager[object]:
        return self._free()

    @asynccontextmanager
    async def _free(self) -> AsyncIterator[None]:
        self.freed += 1
        yield

    def add_adapter(self, name: str, folder: Path) -> None:
        self.models[name] = folder

    def folder_of(self, weights: Weights) -> Path | None:
        return self.models.get(weights if isinstance(weights, str) else weights.name)

    def add_model(self, model: str, folder: Path, *, like: str) -> None:
        self.models[model] = folder


ROWS = [TrainingRow((Message("user", "grass"),), completion="green")]


async def base_model() -> str:
    return "org/small"


Make = Callable[..., Trainings]


@pytest.fixture
def trainings(tmp_path: Path) -> Iterator[Make]:
    """Makes trainings that share what they remember."""
    cache = Cache(tmp_path / "cache")

    def make(trainer: ScriptedTrainer, place: Place, **settings: Any) -> Trainings:
        return Trainings(
            trainer=trainer,
            base=lmpipe.LM("vllm/small"),
            base_model=base_model,
            place=place,
            store=cache,
            folder=tmp_path / "weights",
            **settings,
        )

    yield make
    cache.close()


@pytest.mark.parametrize(("elsewhere", "freed"), [(False, 1), (True, 0)])
async def test_servers_here_make_room_only_for_a_training_here(
    trainings: Make, elsewhere: bool, freed: int
) -> None:
    trainer, place = ScriptedTrainer(hosted="ft:small:1" if elsewhere else ""), Place()
    ready = trainings(trainer, place, elsewhere=elsewhere)
    await ready.train("self", ROWS, TrainingSettings())
    assert place.freed == freed


async def test_full_weights_that_are_known_are_served_again(trainings: Make) -> None:
    trainer, places = ScriptedTrainer(), (Place(), Place())
    for place in places:
        ready = trainings(trainer, place)
        model = await ready.train("self", ROWS, TrainingSettings(full=True))
        assert set(place.models) == {model}
    assert len(trainer.jobs) == 1
    assert places[0].models == places[1].models


async def test_a_hosted_model_that_is_known_keeps_its_name(trainings: Make) -> None:
    trainer, place = ScriptedTrainer(hosted="ft:small:1"), Place()
    for _ in range(2):
        ready = trainings(trainer, place, elsewhere=True)
        assert await ready.train("self", ROWS, TrainingSettings()) == "vllm/ft:small:1"
    assert len(trainer.jobs) == 1
    assert place.models == {}
