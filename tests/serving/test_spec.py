"""ServerSpec: its command line, its environment and its checks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lmpipe.errors import ConfigError
from lmpipe.serving import AdapterLimits, ServerSpec

PYTHON = ("/venv/bin/python", "-m", "vllm.entrypoints.openai.api_server")


def test_by_default_it_listens_on_loopback_and_ignores_the_models_sampling_defaults() -> None:
    argv = ServerSpec(model="Qwen/Qwen2.5-7B-Instruct").argv(PYTHON, 8123)
    assert argv == [
        *PYTHON,
        *("--model", "Qwen/Qwen2.5-7B-Instruct"),
        *("--served-model-name", "Qwen/Qwen2.5-7B-Instruct"),
        *("--host", "127.0.0.1", "--port", "8123"),
        *("--generation-config", "vllm", "--enable-prompt-tokens-details"),
    ]


def test_all_fields_are_in_the_command_line() -> None:
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


def test_the_key_is_only_in_the_environment() -> None:
    spec = ServerSpec(model="m", api_key="sesame")
    assert spec.environment({})["VLLM_API_KEY"] == "sesame"
    assert "sesame" not in f"{spec!r} {spec.argv(PYTHON, 1)}"


def test_the_environment_drops_the_callers_python_variables() -> None:
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


def test_the_server_gets_no_keys_of_other_services() -> None:
    secret = {"OPENAI_API_KEY": "s", "GITHUB_TOKEN": "s", "AWS_SECRET_ACCESS_KEY": "s"}
    base = {"HF_TOKEN": "hf", **secret}
    assert ServerSpec(model="m").environment(base) == {"HF_TOKEN": "hf", "PYTHONUNBUFFERED": "1"}
    stored = ServerSpec(model="s3://bucket/m", env={"OPENAI_API_KEY": "given"}).environment(base)
    assert stored["AWS_SECRET_ACCESS_KEY"] == "s"
    assert stored["OPENAI_API_KEY"] == "given"


def test_a_token_on_the_command_line_is_refused() -> None:
    with pytest.raises(ConfigError, match="--hf-token cannot be in args") as refused:
        ServerSpec(model="m", args=("--hf-token=hf_1234",))
    assert "hf_1234" not in str(refused.value)


def test_without_adapter_limits_adapters_are_disabled() -> None:
    spec = ServerSpec(model="m")
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING" not in spec.environment({})
    assert "--enable-lora" not in spec.argv(PYTHON, 1)


@pytest.mark.parametrize(
    ("host", "url_host", "loopback"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("0.0.0.0", "127.0.0.1", False),
        ("::", "[::1]", False),
        ("::1", "[::1]", True),
        ("gpu-3.lan", "gpu-3.lan", False),
    ],
)
def test_the_listening_address_decides_the_url(host: str, url_host: str, loopback: bool) -> None:
    spec = ServerSpec(model="m", host=host)
    assert (spec.url_host, spec.is_loopback) == (url_host, loopback)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"model": ""}, "needs a model"),
        ({"memory": 1.5}, "memory must be above 0 and at most 1"),
        ({"memory": float("nan")}, "memory must be a finite number"),
        ({"port": 70000}, "port must be from 0 to 65535"),
        ({"tensor_parallel": 0}, "tensor_parallel"),
        ({"context": 0}, "context must be 1 or more"),
        ({"tensor_parallel": 2, "devices": (0,)}, "need 2 GPUs, but devices names 1"),
        ({"devices": (-1,)}, "devices must be 0 or more"),
        ({"args": ("--api-key=sesame",)}, "--api-key cannot be in args: use api_key= instead"),
        ({"args": ("--max_model_len", "8")}, "use context= instead"),
    ],
)
def test_a_value_out_of_range_is_an_error(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        ServerSpec(**{"model": "m", **values})
    assert "sesame" not in str(caught.value)


def test_adapter_limits_out_of_range_are_an_error() -> None:
    with pytest.raises(ConfigError, match="vLLM accepts the ranks 1, 8, 16"):
        AdapterLimits(rank=24)
    with pytest.raises(ConfigError, match="count must be 1 or more"):
        AdapterLimits(count=0)


@pytest.mark.parametrize(("rank", "room"), [(1, 1), (2, 8), (16, 16), (17, 32), (512, 512)])
def test_limits_use_the_next_rank_that_vllm_supports(rank: int, room: int) -> None:
    assert AdapterLimits.holding(rank=rank, count=3) == AdapterLimits(rank=room, count=3)


def test_other_weights_get_the_same_settings_and_a_free_port(tmp_path: Path) -> None:
    spec = ServerSpec(model="m", port=8000, context=512, adapters=AdapterLimits())
    assert spec.of_weights(tmp_path, "tuned-1") == ServerSpec(
        model=str(tmp_path), name="tuned-1", context=512
    )


def test_a_rank_above_vllms_maximum_is_an_error() -> None:
    with pytest.raises(ConfigError, match="rank=513"):
        AdapterLimits.holding(rank=513, count=1)
