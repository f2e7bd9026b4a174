"""A model's folder and a spec that serves it by the fake vLLM."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.fake_vllm import fake_command

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
    """Makes an adapter's folder."""

    def make(name: str, *, rank: int = 8) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "adapter_config.json").write_text(json.dumps({"r": rank}))
        return folder

    return make


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state not in (b"Z", b"X")


@pytest.fixture
def is_alive() -> Callable[[int], bool]:
    return alive


def pids(folder: Path) -> dict[str, int]:
    return {path.name: int(path.read_text()) for path in folder.iterdir()}


@pytest.fixture
def pids_in() -> Callable[[Path], dict[str, int]]:
    """Reads what the fake vLLM wrote about its processes."""
    return pids


@pytest.fixture
def family(tmp_path: Path) -> dict[str, Any]:
    """The environment of a server with two children, and where their process ids will be."""
    folder = tmp_path / "pids"
    folder.mkdir()
    return {"folder": folder, "env": {"FAKE_CHILDREN": str(folder)}}
