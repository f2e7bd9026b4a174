"""Read the header of a GGUF file: the model's metadata, and where its tensors are stored.

The engine needs two numbers from it at every start. The package `gguf` parses the whole vocabulary
for them, which takes 5 seconds and 170 MB with the default weights; this takes 0.05 seconds.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from lmpipe.errors import ConfigError

_STRING, _ARRAY = 8, 9
_SCALARS = dict(zip((*range(8), 10, 11, 12), "BbHhIif?Qqd", strict=True))
_DEFAULT_ALIGNMENT = 32
_MAX_STRING = 1 << 24  # bytes
_MAX_DIMENSIONS = 8


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of the file."""

    name: str
    shape: tuple[int, ...]  # fastest-changing dimension first
    kind: int  # the number of its storage type
    offset: int  # where its bytes start, relative to the start of the data
    kind_at: int  # the position of `kind` in the file; `offset` follows it


@dataclass(frozen=True, slots=True)
class GGUFHeader:
    """Everything before the tensors' data."""

    metadata: Mapping[str, Any]  # scalars and strings by name, without arrays
    positions: Mapping[str, int]  # of each of these values in the file
    tensors: tuple[Tensor, ...]
    length: int  # bytes, without the padding after it

    @property
    def alignment(self) -> int:
        return int(self.metadata.get("general.alignment", _DEFAULT_ALIGNMENT))

    @property
    def data_start(self) -> int:
        return self.length + -self.length % self.alignment

    @property
    def trained_context(self) -> int | None:
        """The context that the weights were trained with, in tokens."""
        return self._number("context_length") or None

    @property
    def bytes_per_token(self) -> int:
        """The memory of one token of context: a 16-bit key and value in every layer."""
        heads = self._number("attention.head_count")
        width = self._number("embedding_length") // max(1, heads)
        key = self._number("attention.key_length") or width
        value = self._number("attention.value_length") or width
        key_heads = self._number("attention.head_count_kv") or heads
        return 2 * self._number("block_count") * key_heads * (key + value)

    def _number(self, name: str) -> int:
        return int(self.metadata.get(f"{self.metadata.get('general.architecture')}.{name}", 0))


def read_gguf_header(path: Path) -> GGUFHeader:
    """Read the header of a GGUF file of version 2 or 3; raise a ConfigError if it is not one."""
    try:
        with path.open("rb") as file:
            return _read_header(file)
    except OSError as error:
        raise ConfigError(
            f"the weights file {path} cannot be read ({error.strerror or error}): "
            'use LM("local/<path of a .gguf file>"), or LM("local") for the default weights'
        ) from error
    except (struct.error, ValueError, KeyError, OverflowError) as error:
        raise ConfigError(
            f"the weights file {path} is not a complete GGUF file ({error}): give a .gguf file of "
            "version 2 or 3 that llama.cpp can load; download or convert it again"
        ) from error


def _read_header(file: BinaryIO) -> GGUFHeader:
    magic = file.read(4)
    if magic != b"GGUF":
        raise ValueError(f"it starts with {magic!r}")
    version, tensor_count, pair_count = _unpack(file, "<IQQ")
    if version not in (2, 3):
        raise ValueError(f"its version is {version}")
    metadata: dict[str, Any] = {}
    positions: dict[str, int] = {}
    for _ in range(pair_count):
        name = _read_string(file)
        (kind,) = _unpack(file, "<I")
        if kind == _ARRAY:
            _skip_array(file)
            continue
        positions[name] = file.tell()
        metadata[name] = (
            _read_string(file) if kind == _STRING else _unpack(file, f"<{_SCALARS[kind]}")[0]
        )
    tensors = tuple(_read_tensor(file) for _ in range(tensor_count))
    return GGUFHeader(metadata, positions, tensors, file.tell())


def _read_tensor(file: BinaryIO) -> Tensor:
    name = _read_string(file)
    (dimensions,) = _unpack(file, "<I")
    if dimensions > _MAX_DIMENSIONS:
        raise ValueError(f"the tensor {name} has {dimensions} dimensions")
    shape = _unpack(file, f"<{dimensions}Q")
    kind_at = file.tell()
    kind, offset = _unpack(file, "<IQ")
    return Tensor(name, shape, kind, offset, kind_at)


def _skip_array(file: BinaryIO) -> None:
    kind, count = _unpack(file, "<IQ")
    if kind in _SCALARS:
        file.seek(struct.calcsize(f"<{_SCALARS[kind]}") * count, 1)
    elif kind == _STRING:
        for _ in range(count):
            (length,) = _unpack(file, "<Q")
            file.seek(length, 1)
    else:
        raise ValueError(f"it contains an array of type {kind}")


def _read_string(file: BinaryIO) -> str:
    (length,) = _unpack(file, "<Q")
    if length > _MAX_STRING:
        raise ValueError(f"it contains a string of {length} bytes")
    return file.read(length).decode()


def _unpack(file: BinaryIO, form: str) -> tuple[Any, ...]:
    return struct.unpack(form, file.read(struct.calcsize(form)))
