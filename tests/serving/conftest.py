"""Fixtures: a model's folder, a spec that serves it with the fake vLLM, and adapters."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.fake_vllm import fake_command
from helpers.family import Family

from lmpipe.serving import AdapterLimits, ServerSpec


@pytest.fixture
def model(tmp_path: Path) -> str:
    folder = tmp_path / "tiny-model"
    folder.mkdir()
    return str(folder)


@pytest.fixture
def spec(model: str) -> ServerSpec:
    return ServerSpec(
        model=model, name="tiny", command=fake_command(), adapters=AdapterLimits(rank=16)
    )


@pytest.fixture
def adapter(tmp_path: Path) -> Callable[..., Path]:
    """Creates an adapter's folder."""

    def make(name: str, *, rank: int = 8) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "adapter_config.json").write_text(json.dumps({"r": rank}))
        return folder

    return make


@pytest.fixture
def family(tmp_path: Path) -> Family:
    folder = tmp_path / "pids"
    folder.mkdir()
    return Family(folder)
