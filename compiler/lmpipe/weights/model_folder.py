"""Folders with a whole model's weights: check and hash them."""

from __future__ import annotations

from pathlib import Path

from lmpipe.errors import TrainingError
from lmpipe.foundation.canonical_json import digest
from lmpipe.foundation.file_hash import file_sha256

# The files that replies depend on: they change the input tokens or the computation.
_HASHED = ("*.safetensors", "config.json", "tokenizer*", "chat_template*", "*.model", "vocab*")


def check_model_folder(folder: Path) -> None:
    """Check that a folder holds a model that can be trained; raise a TrainingError if not."""
    for pattern, what in (("config.json", "config.json"), ("*.safetensors", "weights")):
        if next(folder.glob(pattern), None) is None:
            raise TrainingError(
                f"the base model {folder} has no {what}: give a Hugging Face folder with "
                "config.json, the tokenizer's files and *.safetensors"
            )


def model_hash(folder: Path) -> str:
    """Hash the files of a model's folder that its replies depend on."""
    files = {path for pattern in _HASHED for path in folder.glob(pattern)}
    try:
        return digest({path.name: file_sha256(path) for path in files})
    except OSError as error:
        raise TrainingError(f"the model {folder} cannot be read: {error}") from error
