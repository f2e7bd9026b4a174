"""Small training rows, adapters and models, and a fake Python to train with."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path
from typing import Any

FAKE_PYTHON = Path(__file__).with_name("fake_training.py")

CONFIG: dict[str, Any] = {
    "base_model_name_or_path": "tiny",
    "bias": "none",
    "lora_alpha": 16,
    "lora_dropout": 0.0,
    "modules_to_save": None,
    "peft_type": "LORA",
    "r": 8,
    "target_modules": ["q_proj", "v_proj"],
    "use_dora": False,
}


def tensors(rank: int = 8, fill: int = 0) -> dict[str, tuple[tuple[int, ...], bytes]]:
    """Return the tensors of a LoRA adapter, as shapes and bytes."""
    made = {}
    for layer, name in ((0, "q_proj"), (0, "v_proj")):
        path = f"base_model.model.model.layers.{layer}.self_attn.{name}"
        made[f"{path}.lora_A.weight"] = ((rank, 2), bytes([fill]) * rank * 2 * 4)
        made[f"{path}.lora_B.weight"] = ((2, rank), bytes([fill]) * rank * 2 * 4)
    return made


def write_safetensors(path: Path, contents: dict[str, tuple[tuple[int, ...], bytes]]) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, (shape, raw) in contents.items():
        offsets = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": offsets}
        data += raw
    head = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head + data)


def write_adapter(folder: Path, *, rank: int = 8, fill: int = 0, **config: Any) -> Path:
    """Write a complete adapter; `config` changes its configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({**CONFIG, "r": rank, **config}))
    write_safetensors(folder / "adapter_model.safetensors", tensors(rank, fill))
    return folder


def write_model(folder: Path, weights: bytes = b"12345678") -> Path:
    """Write a folder that passes for a complete model."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    write_safetensors(folder / "model.safetensors", {"w": ((2,), weights)})
    return folder


def sft_rows(count: int) -> list[dict[str, Any]]:
    return [
        {
            "prompt": [{"role": "user", "content": f"question {i}"}],
            "completion": [{"role": "assistant", "content": f"answer {i}"}],
        }
        for i in range(count)
    ]


def dpo_rows(count: int) -> list[dict[str, Any]]:
    return [
        {
            "prompt": row["prompt"],
            "chosen": row["completion"],
            "rejected": [{"role": "assistant", "content": "no idea"}],
        }
        for row in sft_rows(count)
    ]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def fake_python(folder: Path) -> Path:
    """Write an executable in place of the training environment's Python; see `fake_training`."""
    path = folder / "python"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKE_PYTHON}" "$@"\n')
    path.chmod(0o755)
    return path
