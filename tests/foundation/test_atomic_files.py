"""Atomic writes and folder locks."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from lmpipe.errors import StorageError
from lmpipe.foundation.atomic_files import (
    FolderLock,
    home_folder,
    make_readable,
    open_atomic,
    write_file,
)


def test_a_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_file(path, b"old")
    write_file(path, b"new")
    assert path.read_bytes() == b"new"


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_file(path, b"data")
        assert os.read(reader, 10) == b"data"
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(path.stat().st_mode)


def test_a_device_is_written_to_and_not_replaced() -> None:
    write_file(Path("/dev/null"), b"data")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_a_failed_write_keeps_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_file(path, b"old")

    def fail_halfway() -> None:
        with open_atomic(path) as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_locked_folder_cannot_be_locked_by_another_process(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path;"
        "from lmpipe.foundation.atomic_files import FolderLock;"
        "print(FolderLock.take(Path(sys.argv[1])) is not None)"
    )

    def locks() -> str:
        command = [sys.executable, "-c", code, str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    lock = FolderLock.take(tmp_path)
    assert lock is not None
    assert locks() == "False"
    lock.release()
    assert locks() == "True"


def test_the_home_folder_follows_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LMPIPE_HOME", str(tmp_path))
    assert home_folder() == tmp_path
    monkeypatch.delenv("LMPIPE_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert home_folder() == tmp_path / "lmpipe"


def test_a_lock_that_is_a_symbolic_link_leaves_its_target_alone(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("precious")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / ".lock").symlink_to(target)
    with pytest.raises(StorageError, match=r"\.lock cannot be written: .*symbolic link"):
        FolderLock.take(folder)
    assert target.read_text() == "precious"


def test_a_lock_that_is_a_pipe_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".lock")
    with pytest.raises(StorageError, match="not a regular file"):
        FolderLock.take(tmp_path)


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "x"
    with pytest.raises(StorageError, match=f"{path} cannot be written: No such file"):
        write_file(path, b"new")


@pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")
@pytest.mark.parametrize("mask", [0o077, 0o027, 0o002])
def test_new_files_have_the_permissions_that_the_umask_allows(tmp_path: Path, mask: int) -> None:
    private = tmp_path / "private"
    private.touch(mode=0o600)
    before = os.umask(mask)
    try:
        write_file(tmp_path / "new", b"data")
        make_readable(private)
    finally:
        os.umask(before)
    for path in (tmp_path / "new", private):
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask
    assert {path.name for path in tmp_path.iterdir()} == {"new", "private"}
