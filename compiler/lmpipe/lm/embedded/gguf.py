"""The head of a GGUF file: what the weights are called, how they are stored, and where."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from lmpipe.errors import ConfigError

_STRING, _ARRAY = 8, 9
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q"}
_SCALARS[12] = "d"
_DEFAULT_ALIGNMENT = 32


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of the file.

    Args:
        name: what the model calls it.
        shape: its sizes, the fastest-changing first.
        kind: the number of its storage type.
        offset: where its bytes begin, counted from the start of the data.
        kind_at: where the head keeps `kind`; `offset` follows it.
    """

    name: str
    shape: tuple[int, ...]
    kind: int
    offset: int
    kind_at: int


@dataclass(frozen=True, slots=True)
class GGUFHead:
    """All that precedes the weights themselves.

    Args:
        metadata: scalars and strings by name; arrays are left out.
        positions: where the head keeps each scalar's value.
        tensors: the tensors in the file's order.
        length: the bytes of the head, without the padding that follows.
    """

    metadata: Mapping[str, Any]
    positions: Mapping[str, int]
    tensors: tuple[Tensor, ...]
    length: int

    @property
    def alignment(self) -> int:
        return int(self.metadata.get("general.alignment", _DEFAULT_ALIGNMENT))

    @property
    def data_start(self) -> int:
        return self.length + -self.length % self.alignment

    @property
    def trained_context(self) -> int | None:
        """The longest context that the weights were trained with, in tokens."""
        return self._size("context_length") or None

    @property
    def bytes_per_token(self) -> int:
        """What a token in the context takes: a key and a value of 16 bits in every layer."""
        heads = self._size("attention.head_count")
        width = self._size("embedding_length") // max(1, heads)
        key = self._size("attention.key_length") or width
        value = self._size("attention.value_length") or width
        key_heads = self._size("attention.head_count_kv") or heads
        return 2 * self._size("block_count") * key_heads * (key + value)

    def _size(self, name: str) -> int:
        return int(self.metadata.get(f"{self.metadata.get('general.architecture')}.{name}", 0))


def read_gguf_head(path: Path) -> GGUFHead:
    """Read the head of a GGUF file.

    Raises:
        ConfigError: if there is no such file, or it is no GGUF of version 2 or 3.
    """
    try:
        with path.open("rb") as file:
            return _read_head(file)
    except OSError as error:
        raise ConfigError(
            f"the weights file {path} cannot be read ({error.strerror or error}): "
            'write LM("local/<path of a .gguf file>"), or LM("local") for the default weights'
        ) from error
    except (struct.error, ValueError, KeyError) as error:
        raise ConfigError(
            f"the weights file {path} is no whole GGUF file ({error}): expected a .gguf file of "
            "version 2 or 3 that llama.cpp can load; fetch or convert it again"
        ) from error


def _read_head(file: BinaryIO) -> GGUFHead:
    magic = file.read(4)
    if magic != b"GGUF":
        raise ValueError(f"it begins with {magic!r}")
    version, tensor_count, pair_count = _unpack(file, "<IQQ")
    if version not in (2, 3):
        raise ValueError(f"its version is {version}")
    metadata: dict[str, Any] = {}
    positions: dict[str, int] = {}
    for _ in range(pair_count):
        name = _string(file)
        (kind,) = _unpack(file, "<I")
        if kind == _ARRAY:
            _skip_array(file)
            continue
        positions[name] = file.tell()
        metadata[name] = _value(file, kind)
    tensors = tuple(_tensor(file) for _ in range(tensor_count))
    return GGUFHead(metadata, positions, tensors, file.tell())


def _tensor(file: BinaryIO) -> Tensor:
    name = _string(file)
    (dimensions,) = _unpack(file, "<I")
    if dimensions > 8:
        raise ValueError(f"the tensor {name} has {dimensions} dimensions")
    shape = _unpack(file, f"<{dimensions}Q")
    kind_at = file.tell()
    kind, offset = _unpack(file, "<IQ")
    return Tensor(name, shape, kind, offset, kind_at)


def _value(file: BinaryIO, kind: int) -> Any:
    if kind == _STRING:
        return _string(file)
    return _unpack(file, f"<{_SCALARS[kind]}")[0]


def _skip_array(file: BinaryIO) -> None:
    kind, count = _unpack(file, "<IQ")
    if kind in _SCALARS:
        file.seek(struct.calcsize(f"<{_SCALARS[kind]}") * count, 1)
    elif kind == _STRING:
        for _ in range(count):
            (length,) = _unpack(file, "<Q")
            file.seek(length, 1)
    else:
        raise ValueError(f"it holds an array of type {kind}")


def _string(file: BinaryIO) -> str:
    (length,) = _unpack(file, "<Q")
    if length > 1 << 24:
        raise ValueError(f"it holds a string of {length} bytes")
    return file.read(length).decode()


def _unpack(file: BinaryIO, form: str) -> tuple[Any, ...]:
    return struct.unpack(form, file.read(struct.calcsize(form)))
