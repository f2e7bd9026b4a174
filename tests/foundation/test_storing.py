"""Errors of the disk name the file and the remedy."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from lmpipe.errors import StorageError
from lmpipe.foundation.storing import storing


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EDQUOT, "quota"),
        (errno.EFBIG, "ulimit -f"),
        (errno.EACCES, "permissions"),
        (errno.EROFS, "permissions"),
        (errno.EIO, "check the disk"),
    ],
)
def test_an_error_of_the_disk_names_the_file_and_what_to_do(number: int, remedy: str) -> None:
    path = Path("folder/file.jsonl")
    with pytest.raises(StorageError) as caught, storing(path):
        raise OSError(number, os.strerror(number))
    message = str(caught.value)
    assert message.startswith(f"{path} cannot be written: {os.strerror(number)}; ")
    assert remedy in message


def test_other_errors_pass() -> None:
    with pytest.raises(KeyError), storing(Path("file")):
        raise KeyError
