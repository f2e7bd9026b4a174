"""Q4_1 → Q8_0: nearly the same numbers, in a file that is still whole."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.errors import ConfigError
from lmpipe.lm.embedded.gguf import read_gguf_head
from lmpipe.lm.embedded.requantize import q4_1_to_q8_0, requantize

pytest.importorskip("numpy")

F32, Q4_1, Q8_0, F16 = 0, 3, 8, 1
finite = st.floats(-100, 100, width=16)


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def gguf(tensors: list[tuple[str, int, int, bytes]]) -> bytes:
    """A whole file of one-dimensional tensors (name, type, size, data), data padded to 32."""
    pairs = [
        text("general.architecture") + struct.pack("<I", 8) + text("llama"),
        text("general.file_type") + struct.pack("<II", 4, 3),
        text("llama.context_length") + struct.pack("<II", 4, 512),
        text("tokens") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("bc"),
        text("scores") + struct.pack("<IIQ", 9, 6, 3) + bytes(12),
    ]
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs)) + b"".join(pairs)
    body = b""
    for name, kind, size, data in tensors:
        head += text(name) + struct.pack("<IQIQ", 1, size, kind, len(body))
        body += data + bytes(-len(data) % 32)
    return head + bytes(-len(head) % 32) + body


def old_values(block: bytes) -> list[float]:
    scale, least = struct.unpack("<ee", block[:4])
    quants = [byte & 15 for byte in block[4:]] + [byte >> 4 for byte in block[4:]]
    return [quant * scale + least for quant in quants]


def new_values(block: bytes) -> list[float]:
    scale, *quants = struct.unpack("<e32b", block)
    return [quant * scale for quant in quants]


@given(scale=finite, least=finite, quants=st.binary(min_size=16, max_size=16))
def test_values_stay_within_a_step(scale: float, least: float, quants: bytes) -> None:
    block = struct.pack("<ee", scale, least) + quants
    before, after = old_values(block), new_values(q4_1_to_q8_0(block))
    # Half a step of Q8_0, and what a half-precision scale is off at 127 of them.
    step = max(map(abs, before)) / 127
    tolerance = step * (0.5 + 127 / 2048) + 127 * 2.0**-24
    assert all(abs(a - b) <= tolerance for a, b in zip(before, after, strict=True))


def test_only_q4_1_changes(tmp_path: Path) -> None:
    norm, embedding = struct.pack("<4f", 1, 2, 3, 4), bytes(range(34))
    block = struct.pack("<ee", 0.5, -1.0) + bytes(range(16))
    source, target = tmp_path / "a.gguf", tmp_path / "b.gguf"
    source.write_bytes(
        gguf([("norm", F32, 4, norm), ("w", Q4_1, 32, block), ("embd", Q8_0, 32, embedding)])
    )
    requantize(source, target)
    head, data = read_gguf_head(target), target.read_bytes()
    kinds = {tensor.name: tensor.kind for tensor in head.tensors}
    found = {t.name: data[head.data_start + t.offset :] for t in head.tensors}
    assert kinds == {"norm": F32, "w": Q8_0, "embd": Q8_0}
    assert head.metadata["general.file_type"] == 7
    assert found["norm"].startswith(norm)
    assert found["w"].startswith(q4_1_to_q8_0(block))
    assert found["embd"].startswith(embedding)
    assert len(data) % 32 == 0


def test_other_types_are_refused(tmp_path: Path) -> None:
    source = tmp_path / "a.gguf"
    source.write_bytes(gguf([("w", F16, 32, bytes(64))]))
    with pytest.raises(ConfigError, match="storage type 1"):
        requantize(source, tmp_path / "b.gguf")


def test_the_head_tells_the_trained_context(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(gguf([]))
    assert read_gguf_head(path).trained_context == 512


@given(cut=st.integers(0, 200))
def test_a_cut_head_is_refused(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("gguf") / "a.gguf"
    path.write_bytes(gguf([("w", F32, 4, bytes(16))])[:cut])
    with pytest.raises(ConfigError, match="GGUF"):
        read_gguf_head(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        read_gguf_head(tmp_path / "nowhere.gguf")
