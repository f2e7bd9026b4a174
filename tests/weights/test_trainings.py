"""`Trainings`: what it trains, what it finds, and when servers make room."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from helpers.trainer import ScriptedTrainer

import lmpipe
from lmpipe.lm.message import Message
from lmpipe.weights.rows import TrainingRow
from lmpipe.weights.settings import TrainingSettings
from lmpipe.weights.training_store import TrainingStore
from lmpipe.weights.trainings import Trainings, Weights


@dataclass
class Servers:
    """Servers that keep registered weights."""

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


Make = Callable[[ScriptedTrainer, Servers], Trainings]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes trainings with the same folder of weights."""

    def trainings(trainer: ScriptedTrainer, servers: Servers) -> Trainings:
        return Trainings(
            trainer=trainer,
            base=lmpipe.LM("vllm/small"),
            find_base_model=base_model,
            servers=servers,
            store=TrainingStore(tmp_path / "weights"),
        )

    return trainings


@pytest.mark.parametrize(("model", "freed"), [("", 1), ("ft:small:1", 0)])
async def test_servers_make_room_only_for_a_local_training(
    make: Make, model: str, freed: int
) -> None:
    servers = Servers()
    await make(ScriptedTrainer(model=model), servers).train("self", ROWS, TrainingSettings())
    assert servers.freed == freed


async def test_full_weights_that_were_trained_before_are_served(make: Make) -> None:
    trainer, first, second = ScriptedTrainer(), Servers(), Servers()
    for servers in (first, second):
        model = await make(trainer, servers).train("self", ROWS, TrainingSettings(full=True))
        assert set(servers.models) == {model}
    assert len(trainer.jobs) == 1
    assert first.models == second.models


async def test_a_hosted_model_that_was_trained_before_keeps_its_name(make: Make) -> None:
    trainer, servers = ScriptedTrainer(model="ft:small:1"), Servers()
    for _ in range(2):
        weights = await make(trainer, servers).train("self", ROWS, TrainingSettings())
        assert weights == "vllm/ft:small:1"
    assert len(trainer.jobs) == 1
    assert servers.models == {}


async def test_other_settings_are_another_training(make: Make) -> None:
    trainer = ScriptedTrainer()
    for rank in (8, 16):
        await make(trainer, Servers()).train("self", ROWS, TrainingSettings(rank=rank))
    assert len(trainer.jobs) == 2
