"""Reading adapters: hashes, vLLM's limits, and damaged or foreign files."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path
from typing import Any

import pytest
from helpers.training import tensors, write_adapter, write_safetensors
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.errors import ArtifactError
from lmpipe.weights.adapter import check_for_vllm, read_adapter, read_safetensors_header


def test_the_description_of_an_adapter(tmp_path: Path) -> None:
    adapter = read_adapter(write_adapter(tmp_path, rank=16))
    assert (adapter.rank, adapter.targets) == (16, ("q_proj", "v_proj"))
    assert adapter.base_model == "tiny"
    assert len(adapter.hash) == 64


def test_the_hash_covers_the_weights_and_effective_configuration(tmp_path: Path) -> None:
    hashes = [
        read_adapter(write_adapter(tmp_path / name, **options)).hash
        for name, options in {
            "same": {},
            "weights": {"fill": 1},
            "scale": {"lora_alpha": 32},
            "rslora": {"use_rslora": True},
            "pattern": {"alpha_pattern": {"q_proj": 4}},
        }.items()
    ]
    assert len(set(hashes)) == len(hashes)
    unchanged: list[dict[str, Any]] = [
        {"base_model_name_or_path": "/elsewhere"},
        {"lora_dropout": 0.5},
        {"peft_version": "9.9"},
        {"target_modules": ["v_proj", "q_proj"]},
        {"use_rslora": False},
    ]
    for i, options in enumerate(unchanged):
        assert read_adapter(write_adapter(tmp_path / str(i), **options)).hash == hashes[0]


def test_a_rank_above_the_servers_maximum_is_refused(tmp_path: Path) -> None:
    adapter = read_adapter(write_adapter(tmp_path, rank=32))
    check_for_vllm(adapter, 32)
    with pytest.raises(ArtifactError, match="--max-lora-rank 32"):
        check_for_vllm(adapter, 16)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"bias": "all"}, "bias='all'"),
        ({"modules_to_save": ["lm_head"]}, "whole modules"),
        ({"init_lora_weights": "pissa"}, "pissa"),
    ],
)
def test_features_that_vllm_does_not_serve_are_named(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    adapter = read_adapter(write_adapter(tmp_path, **options))
    with pytest.raises(ArtifactError, match=message):
        check_for_vllm(adapter, 64)


def test_a_pickle_is_refused(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path)
    (folder / "adapter_model.safetensors").unlink()
    (folder / "adapter_model.bin").write_bytes(pickle.dumps({}))
    with pytest.raises(ArtifactError, match="pickle"):
        read_adapter(folder)


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="does not hold a LoRA adapter"):
        read_adapter(tmp_path)
    folder = write_adapter(tmp_path / "other", peft_type="IA3")
    with pytest.raises(ArtifactError, match="LoRA"):
        read_adapter(folder)
    folder = write_adapter(tmp_path / "empty")
    write_safetensors(folder / "adapter_model.safetensors", {"w": ((1,), b"1234")})
    with pytest.raises(ArtifactError, match="no LoRA weights"):
        read_adapter(folder)


@given(cut=st.integers(0, 1000), junk=st.binary(max_size=20))
def test_a_damaged_file_is_an_artifact_error(
    tmp_path_factory: pytest.TempPathFactory, cut: int, junk: bytes
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "adapter_model.safetensors"
    write_safetensors(path, tensors())
    whole = path.read_bytes()
    damaged = whole[: cut % len(whole)] + junk
    path.write_bytes(damaged)
    if len(damaged) != len(whole):
        with pytest.raises(ArtifactError, match="not a complete safetensors file"):
            read_safetensors_header(path)


def test_a_huge_header_length_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", 2**62) + b"{}")
    with pytest.raises(ArtifactError, match="longer than the file"):
        read_safetensors_header(path)
