"""The names of weights in several files."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.errors import ConfigError
from lmpipe.lm.embedded.default_weights import weights_sha256
from lmpipe.lm.embedded.split_weights import parts_of

PARTS = ["a-00001-of-00003.gguf", "a-00002-of-00003.gguf", "a-00003-of-00003.gguf"]


@pytest.mark.parametrize("part", PARTS)
def test_any_part_names_all(part: str) -> None:
    assert parts_of(part) == PARTS


@pytest.mark.parametrize("file", ["a.gguf", "a-1-of-2.gguf", "a-00001-of-00000.gguf", ""])
def test_other_files_are_alone(file: str) -> None:
    assert parts_of(file) == [file]


@given(st.text())
def test_any_text_names_at_least_one_file(text: str) -> None:
    assert parts_of(text)


def test_each_part_changes_the_identity_of_the_weights(tmp_path: Path) -> None:
    for part in PARTS:
        (tmp_path / part).write_bytes(b"before")
    before = weights_sha256(tmp_path / PARTS[0])
    (tmp_path / PARTS[2]).write_bytes(b"afterwards")
    assert weights_sha256(tmp_path / PARTS[0]) != before


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    (tmp_path / PARTS[0]).write_bytes(b"one")
    with pytest.raises(ConfigError, match=rf"{PARTS[1]} cannot be read"):
        weights_sha256(tmp_path / PARTS[0])
