"""Lines are in a file whole or not at all."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from lmpipe.errors import StorageError
from lmpipe.foundation.line_file import LineFile, append_durably


def test_lines_are_appended_to_those_that_are_there(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    for line in (b"one", b"two"):
        with closing(LineFile(path)) as file:
            file.append(line)
    assert path.read_bytes() == b"one\ntwo\n"


def test_half_a_line_is_taken_back_when_the_disk_is_full_and_the_next_one_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write

    def half(descriptor: int, data: bytes) -> int:
        if len(data) < 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[: len(data) // 2])

    path = tmp_path / "lines"
    with closing(LineFile(path)) as file:
        file.append(b"first")
        monkeypatch.setattr(os, "write", half)
        with pytest.raises(StorageError, match=r"lines cannot be written: No space .*make room"):
            file.append(b"a long line")
        assert path.read_bytes() == b"first\n"
        monkeypatch.setattr(os, "write", write)
        file.append(b"second")
    assert path.read_bytes() == b"first\nsecond\n"


def test_a_torn_last_line_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"whole\nto")
    with closing(LineFile(path)) as file:
        file.drop_torn_line()
        file.append(b"next")
    assert path.read_bytes() == b"whole\nnext\n"


def test_a_line_file_that_is_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("precious")
    (tmp_path / "lines").symlink_to(target)
    with pytest.raises(StorageError, match=r"lines cannot be written: .*symbolic link.*remove it"):
        LineFile(tmp_path / "lines")
    assert target.read_text() == "precious"


def test_durable_lines_of_many_threads_are_whole(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    lines = [f"{number}".encode() * 50 for number in range(10, 60)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda line: append_durably(path, line), lines))
    assert sorted(path.read_bytes().splitlines()) == sorted(lines)


@pytest.mark.parametrize("torn", [b"ha", b"h" * 200_000])
def test_a_durable_line_takes_the_place_of_a_torn_one(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"one\n" + torn)
    append_durably(path, b"two")
    assert path.read_bytes() == b"one\ntwo\n"


def test_a_durable_line_is_taken_back_when_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lines"
    append_durably(path, b"one")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="make room"):
        append_durably(path, b"two")
    assert path.read_bytes() == b"one\n"
