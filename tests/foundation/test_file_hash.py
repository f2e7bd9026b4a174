"""The SHA-256 of files."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from lmpipe.foundation.file_hash import file_sha256


def test_it_is_the_hash_of_the_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    assert file_sha256(path) == hashlib.sha256(b"content").hexdigest()


def test_a_changed_file_is_hashed_again(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    before = file_sha256(path)
    path.write_bytes(b"behind")
    os.utime(path, ns=(1, 1))
    assert file_sha256(path) != before


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        file_sha256(tmp_path / "missing")
