"""A spec says the whole command line and environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lmpipe.errors import ConfigError
from lmpipe.serving import AdapterLimits, ServerSpec

PYTHON = ("/venv/bin/python", "-m", "vllm.entrypoints.openai.api_server")


def test_the_plainest_one_is_on_loopback_and_leaves_nothing_to_the_models_folder() -> None:
    argv = ServerSpec(model="Qwen/Qwen2.5-7B-Instruct").argv(PYTHON, 8123)
    assert argv == [
        *PYTHON,
        *("--model", "Qwen/Qwen2.5-7B-Instruct"),
        *("--served-model-name", "Qwen/Qwen2.5-7B-Instruct"),
        *("--host", "127.0.0.1", "--port", "8123"),
        *("--generation-config", "vllm", "--enable-prompt-tokens-details"),
    ]


def test_all_that_is_said_is_in_the_command_line() -> None:
    spec = ServerSpec(
        model="m",
        name="student",
        memory=0.45,
        tensor_parallel=2,
        data_parallel=3,
        context=4096,
        adapters=AdapterLimits(rank=32, count=2),
        args=("--dtype", "bfloat16"),
    )
    argv = " ".join(spec.argv(PYTHON, 1))
    for words in (
        "--served-model-name student",
        "--gpu-memory-utilization 0.45",
        "--tensor-parallel-size 2",
        "--data-parallel-size 3",
        "--max-model-len 4096",
        "--enable-lora --max-lora-rank 32 --max-loras 2",
    ):
        assert words in argv
    assert argv.endswith("--dtype bfloat16")
    assert spec.device_count == 6


def test_vllm_serve_takes_the_model_first() -> None:
    argv = ServerSpec(model="m").argv(("vllm", "serve"), 1)
    assert argv[:3] == ["vllm", "serve", "m"]
    assert "--model" not in argv


def test_the_key_is_in_the_environment_alone() -> None:
    spec = ServerSpec(model="m", api_key="sesame")
    assert spec.environment({})["VLLM_API_KEY"] == "sesame"
    assert "sesame" not in f"{spec!r} {spec.argv(PYTHON, 1)}"


def test_the_environment_is_the_callers_but_for_its_python() -> None:
    spec = ServerSpec(
        model="m", devices=(1, 3), adapters=AdapterLimits(), env={"HF_HUB_OFFLINE": "1"}
    )
    base = {"PATH": "/bin", "PYTHONPATH": "/ours", "PYTHONHOME": "/ours", "HF_HUB_OFFLINE": "0"}
    environment = spec.environment(base)
    assert environment.pop("PYTHONUNBUFFERED") == "1"
    assert environment == {
        "PATH": "/bin",
        "CUDA_VISIBLE_DEVICES": "1,3",
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        "HF_HUB_OFFLINE": "1",
    }


def test_without_adapters_they_cannot_be_loaded() -> None:
    spec = ServerSpec(model="m")
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING" not in spec.environment({})
    assert "--enable-lora" not in spec.argv(PYTHON, 1)


@pytest.mark.parametrize(
    ("host", "reached_at", "loopback"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("0.0.0.0", "127.0.0.1", False),
        ("::", "[::1]", False),
        ("::1", "[::1]", True),
        ("gpu-3.lan", "gpu-3.lan", False),
    ],
)
def test_where_it_listens_and_where_it_is_reached(
    host: str, reached_at: str, loopback: bool
) -> None:
    spec = ServerSpec(model="m", host=host)
    assert (spec.reached_at, spec.is_loopback) == (reached_at, loopback)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"model": ""}, "needs a model"),
        ({"memory": 1.5}, "memory must be"),
        ({"memory": 0.0}, "memory must be"),
        ({"port": 70000}, "port must be"),
        ({"tensor_parallel": 0}, "tensor_parallel"),
        ({"context": 0}, "context must be"),
        ({"tensor_parallel": 2, "devices": (0,)}, "need 2 GPUs, devices names 1"),
        ({"args": ("--api-key=sesame",)}, "--api-key does not belong in args: say it with api_key"),
        ({"args": ("--max_model_len", "8")}, "say it with context="),
    ],
)
def test_what_cannot_be_served_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        ServerSpec(**{"model": "m", **values})
    assert "sesame" not in str(caught.value)


def test_a_rank_that_vllm_does_not_have_is_refused() -> None:
    with pytest.raises(ConfigError, match="vLLM takes the ranks 1, 8, 16"):
        AdapterLimits(rank=24)
    with pytest.raises(ConfigError, match="count=0"):
        AdapterLimits(count=0)


@pytest.mark.parametrize(("rank", "room"), [(1, 1), (2, 8), (16, 16), (17, 32), (512, 512)])
def test_room_for_adapters_is_the_next_rank_that_vllm_has(rank: int, room: int) -> None:
    assert AdapterLimits.holding(rank=rank, count=3) == AdapterLimits(rank=room, count=3)


def test_other_weights_are_served_the_same_way_at_a_port_of_their_own(tmp_path: Path) -> None:
    spec = ServerSpec(model="m", port=8000, context=512, adapters=AdapterLimits())
    assert spec.of_weights(tmp_path, "tuned-1") == ServerSpec(
        model=str(tmp_path), name="tuned-1", context=512
    )


def test_a_rank_beyond_all_of_vllms_is_an_error() -> None:
    with pytest.raises(ConfigError, match="rank=513"):
        AdapterLimits.holding(rank=513, count=1)
