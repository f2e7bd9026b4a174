"""Reading the header of a GGUF file."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from helpers.gguf_file import F32, gguf_file
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.errors import ConfigError
from lmpipe.lm.embedded.gguf import read_gguf_header


def test_the_header_has_the_trained_context(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(gguf_file([]))
    assert read_gguf_header(path).trained_context == 512


@given(cut=st.integers(0, 200))
def test_a_truncated_header_is_rejected(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("gguf") / "a.gguf"
    path.write_bytes(gguf_file([("w", F32, 4, bytes(16))])[:cut])
    with pytest.raises(ConfigError, match="GGUF"):
        read_gguf_header(path)


@pytest.mark.parametrize("kind", [6, 8])
def test_an_impossible_length_is_rejected(tmp_path: Path, kind: int) -> None:
    name = struct.pack("<Q", 1) + b"x"
    array = struct.pack("<IIQ", 9, kind, 2**64 - 1) + struct.pack("<Q", 2**64 - 1)
    path = tmp_path / "a.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + name + array)
    with pytest.raises(ConfigError, match="GGUF"):
        read_gguf_header(path)


def test_a_missing_file_is_named_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        read_gguf_header(tmp_path / "nowhere.gguf")
