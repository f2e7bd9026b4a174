"""Reading adapters: the hash, what vLLM takes, and files that are none."""

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


def test_an_adapter_says_what_it_is(tmp_path: Path) -> None:
    adapter = read_adapter(write_adapter(tmp_path, rank=16))
    assert (adapter.rank, adapter.targets) == (16, ("q_proj", "v_proj"))
    assert adapter.base_model == "tiny"
    assert len(adapter.hash) == 64


def test_the_hash_is_of_the_weights_and_of_what_changes_their_effect(tmp_path: Path) -> None:
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


def test_vllm_refuses_a_higher_rank_than_it_was_started_for(tmp_path: Path) -> None:
    adapter = read_adapter(write_adapter(tmp_path, rank=32))
    check_for_vllm(adapter, 32)
    with pytest.raises(ArtifactError, match="--max-lora-rank 32"):
        check_for_vllm(adapter, 16)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"bias": "all"}, "bias='all'"),
        ({"modules_to_save": ["lm_head"]}, "whole modules"),
        ({"init_lora_weights": "pissa"}, "pissa"),
    ],
)
def test_what_vllm_does_not_serve_is_named(
    tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    adapter = read_adapter(write_adapter(tmp_path, **options))
    with pytest.raises(ArtifactError, match=said):
        check_for_vllm(adapter, 64)


def test_a_pickle_is_refused_unread(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path)
    (folder / "adapter_model.safetensors").unlink()
    (folder / "adapter_model.bin").write_bytes(pickle.dumps({}))
    with pytest.raises(ArtifactError, match="pickle"):
        read_adapter(folder)


def test_folders_that_hold_no_adapter(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="holds no LoRA adapter"):
        read_adapter(tmp_path)
    folder = write_adapter(tmp_path / "other", peft_type="IA3")
    with pytest.raises(ArtifactError, match="LoRA"):
        read_adapter(folder)
    folder = write_adapter(tmp_path / "empty")
    write_safetensors(folder / "adapter_model.safetensors", {"w": ((1,), b"1234")})
    with pytest.raises(ArtifactError, match="no LoRA weights"):
        read_adapter(folder)


@given(cut=st.integers(0, 1000), junk=st.binary(max_size=20))
def test_a_file_of_another_length_is_an_error_of_ours(
    tmp_path_factory: pytest.TempPathFactory, cut: int, junk: bytes
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "adapter_model.safetensors"
    write_safetensors(path, tensors())
    whole = path.read_bytes()
    damaged = whole[: cut % len(whole)] + junk
    path.write_bytes(damaged)
    if len(damaged) != len(whole):
        with pytest.raises(ArtifactError, match="no whole safetensors file"):
            read_safetensors_header(path)


def test_a_head_that_says_it_is_huge_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", 2**62) + b"{}")
    with pytest.raises(ArtifactError, match="longer than the file"):
        read_safetensors_header(path)
