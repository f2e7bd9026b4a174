"""Folders with the weights of a whole model, and what pins them."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from lmpipe.errors import TrainingError
from lmpipe.foundation.canonical_json import digest

# What changes the tokens that go in or the numbers that come out.
_PINNED = ("*.safetensors", "config.json", "tokenizer*", "chat_template*", "*.model", "vocab*")


def check_model_folder(folder: Path) -> None:
    """See that a folder holds a model that can be trained.

    Raises:
        TrainingError: if it does not.
    """
    for pattern, what in (("config.json", "config.json"), ("*.safetensors", "weights")):
        if next(folder.glob(pattern), None) is None:
            raise TrainingError(
                f"the base model {folder} has no {what}: give a Hugging Face folder with "
                "config.json, the tokenizer's files and *.safetensors"
            )


def model_hash(folder: Path) -> str:
    """A hash over the files of a model's folder that its replies depend on.

    Raises:
        TrainingError: if a file cannot be read.
    """
    files = {path for pattern in _PINNED for path in folder.glob(pattern)}
    return digest({path.name: file_hash(path) for path in files})


def file_hash(path: Path) -> str:
    """The SHA-256 of a file, worked out once for as long as it stays unchanged.

    Raises:
        TrainingError: if it cannot be read.
    """
    try:
        path = path.absolute()
        stat = path.stat()
        return _file_hash(path, stat.st_mtime_ns, stat.st_size)
    except OSError as error:
        raise TrainingError(f"{path} cannot be read: {error.strerror or error}") from error


@lru_cache(maxsize=256)
def _file_hash(path: Path, mtime_ns: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
