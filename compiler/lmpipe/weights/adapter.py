"""Read a LoRA adapter's folder safely, hash it, and check it against vLLM's limits."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from lmpipe.errors import ArtifactError
from lmpipe.foundation.canonical_json import digest
from lmpipe.foundation.file_hash import file_sha256

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
_MAX_HEADER = 100_000_000  # bytes; the format's limit

# Configuration keys that change an adapter's effect. Others, such as its dropout, its base
# model's path and library versions, only say how it was made.
_EFFECTIVE = (
    "alora_invocation_tokens",
    "alpha_pattern",
    "bias",
    "fan_in_fan_out",
    "layer_replication",
    "layers_pattern",
    "layers_to_transform",
    "lora_alpha",
    "lora_bias",
    "modules_to_save",
    "peft_type",
    "r",
    "rank_pattern",
    "target_modules",
    "use_dora",
    "use_qalora",
    "use_rslora",
)

# Configuration keys that vLLM refuses, or would silently ignore, if they are set.
_UNSUPPORTED = {
    "use_dora": "DoRA",
    "lora_bias": "a bias in the adapter",
    "modules_to_save": "weights of whole modules",
    "alora_invocation_tokens": "activated LoRA",
    "layer_replication": "replicated layers",
    "use_bdlora": "block-diagonal LoRA",
    "use_qalora": "QALoRA",
}
# Initializations that leave the base model as it is.
_PLAIN_INITS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")


@dataclass(frozen=True, slots=True)
class AdapterFolder:
    """A LoRA adapter on disk.

    Args:
        hash: the hash of its weights and of the configuration that changes their effect.
        rank: its rank; the highest if layers differ.
        targets: the layers that it changes, by the ends of their names.
        base_model: the base model that its configuration names.
    """

    folder: Path
    hash: str
    rank: int
    targets: tuple[str, ...]
    base_model: str


def read_adapter(folder: Path) -> AdapterFolder:
    """Read an adapter's description and hash its weights. No code runs.

    Raises:
        ArtifactError: if the folder holds no adapter, or one that is damaged or pickled.
    """
    config = _read_config(folder)
    weights = _weights_file(folder)
    tensors = read_safetensors_header(weights)
    pairs = {name: shape for name, shape in tensors.items() if ".lora_A." in name}
    ranks = {shape[0] for shape in pairs.values() if shape}
    if not ranks:
        raise ArtifactError(f"{weights} holds no LoRA weights")
    try:
        sha256 = file_sha256(weights)
    except OSError as error:
        raise ArtifactError(f"{weights} cannot be read: {error.strerror or error}") from error
    targets = {name.partition(".lora_A.")[0].rpartition(".")[2] for name in pairs}
    effective = {key: config[key] for key in _EFFECTIVE if config.get(key)}
    if isinstance(effective.get("target_modules"), list):
        effective["target_modules"] = sorted(effective["target_modules"])
    return AdapterFolder(
        folder=folder,
        hash=digest({"config": effective, "weights": sha256}),
        rank=max(ranks),
        targets=tuple(sorted(targets)),
        base_model=str(config.get("base_model_name_or_path") or ""),
    )


def check_for_vllm(adapter: AdapterFolder, max_rank: int) -> None:
    """Check that a vLLM server with `--max-lora-rank` `max_rank` can serve an adapter.

    Raises:
        ArtifactError: if it cannot.
    """
    if adapter.rank > max_rank:
        raise ArtifactError(
            f"the adapter {adapter.folder} has rank {adapter.rank}, but the server accepts up to "
            f"{max_rank}: start it with --max-lora-rank {adapter.rank}, or train at a lower rank"
        )
    config = _read_config(adapter.folder)
    unsupported = [what for key, what in _UNSUPPORTED.items() if config.get(key)]
    if config.get("bias") not in (None, "none"):
        unsupported.append(f"bias={config['bias']!r}")
    init = config.get("init_lora_weights", True)
    if isinstance(init, str) and init.lower() not in _PLAIN_INITS:
        unsupported.append(f"an initialization that changes the base model ({init})")
    if unsupported:
        raise ArtifactError(
            f"the adapter {adapter.folder} has {', '.join(unsupported)}, which vLLM does not "
            "serve: train a plain LoRA adapter"
        )


def read_safetensors_header(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tensors of a complete safetensors file, by name."""
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(_MAX_HEADER, size - 8):
                raise ValueError("its header is longer than the file")
            header = orjson.loads(file.read(length))
        header.pop("__metadata__", None)
        ends = [int(tensor["data_offsets"][1]) for tensor in header.values()]
        if max(ends, default=0) != size - 8 - length:
            raise ValueError("its size does not match its header")
        return {name: tuple(map(int, tensor["shape"])) for name, tensor in header.items()}
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, struct.error) as error:
        raise ArtifactError(f"{path} is not a complete safetensors file ({error})") from error


def _weights_file(folder: Path) -> Path:
    path = folder / WEIGHTS
    if path.exists():
        return path
    if next(folder.glob("adapter_model*.bin"), None) is not None:
        raise ArtifactError(
            f"{folder} has its weights as .bin, a pickle, which can run code when it is loaded: "
            f"save them as {WEIGHTS}"
        )
    raise ArtifactError(f"{folder} has no {WEIGHTS}: it does not hold a LoRA adapter")


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        config = orjson.loads(path.read_bytes())
    except OSError as error:
        raise ArtifactError(
            f"{path} cannot be read ({error.strerror or error}): the folder does not hold a LoRA "
            "adapter"
        ) from error
    except ValueError as error:
        raise ArtifactError(f"{path} is not JSON ({error})") from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise ArtifactError(f"{path} does not describe a LoRA adapter (peft_type is not LORA)")
    return config
