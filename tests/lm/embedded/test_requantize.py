"""Converting Q4_1 to Q8_0: almost the same values, in a file that is still valid."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from helpers.gguf_file import F16, F32, Q4_1, Q8_0, gguf_file
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.errors import ConfigError
from lmpipe.lm.embedded.gguf import read_gguf_header
from lmpipe.lm.embedded.requantize import q4_1_to_q8_0, requantize

finite = st.floats(-100, 100, width=16)


def values_before(block: bytes) -> list[float]:
    scale, minimum = struct.unpack("<ee", block[:4])
    quants = [byte & 15 for byte in block[4:]] + [byte >> 4 for byte in block[4:]]
    return [quant * scale + minimum for quant in quants]


def values_after(block: bytes) -> list[float]:
    scale, *quants = struct.unpack("<e32b", block)
    return [quant * scale for quant in quants]


@given(scale=finite, minimum=finite, quants=st.binary(min_size=16, max_size=16))
def test_values_change_by_less_than_a_step(scale: float, minimum: float, quants: bytes) -> None:
    block = struct.pack("<ee", scale, minimum) + quants
    before, after = values_before(block), values_after(q4_1_to_q8_0(block))
    # Half a step of Q8_0, plus the rounding of a half-precision scale times 127.
    step = max(map(abs, before)) / 127
    tolerance = step * (0.5 + 127 / 2048) + 127 * 2.0**-24
    assert all(abs(a - b) <= tolerance for a, b in zip(before, after, strict=True))


def test_only_q4_1_tensors_change(tmp_path: Path) -> None:
    norm, embedding = struct.pack("<4f", 1, 2, 3, 4), bytes(range(34))
    block = struct.pack("<ee", 0.5, -1.0) + bytes(range(16))
    source, target = tmp_path / "a.gguf", tmp_path / "b.gguf"
    source.write_bytes(
        gguf_file([("norm", F32, 4, norm), ("w", Q4_1, 32, block), ("embd", Q8_0, 32, embedding)])
    )
    requantize(source, target)
    header, data = read_gguf_header(target), target.read_bytes()
    kinds = {tensor.name: tensor.kind for tensor in header.tensors}
    found = {tensor.name: data[header.data_start + tensor.offset :] for tensor in header.tensors}
    assert kinds == {"norm": F32, "w": Q8_0, "embd": Q8_0}
    assert header.metadata["general.file_type"] == 7
    assert found["norm"].startswith(norm)
    assert found["w"].startswith(q4_1_to_q8_0(block))
    assert found["embd"].startswith(embedding)
    assert len(data) % 32 == 0


def test_other_storage_types_are_rejected(tmp_path: Path) -> None:
    source = tmp_path / "a.gguf"
    source.write_bytes(gguf_file([("w", F16, 32, bytes(64))]))
    with pytest.raises(ConfigError, match="storage type 1"):
        requantize(source, tmp_path / "b.gguf")
