"""Explaining the errors of the training libraries."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from lmpipe.weights.settings import TrainingSettings
from lmpipe.weights.train_process.failures import explain


def wrapped(cause: Exception) -> Exception:
    error = RuntimeError("saving failed")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (wrapped(OSError(errno.EDQUOT, "Disk quota exceeded")), "the disk is full"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "the disk is full"),
        (MemoryError(), "out of memory: lower batch (now 4)"),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried"), "out of memory"),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA"), "out of memory"),
        (OSError(errno.EACCES, "Permission denied"), "PermissionError: [Errno 13]"),
        (KeyError("lm_head"), "KeyError: 'lm_head'"),
    ],
)
def test_errors_are_explained(tmp_path: Path, error: Exception, message: str) -> None:
    job = {"work": str(tmp_path), "settings": TrainingSettings(batch=4).to_json()}
    assert explain(error, job).startswith(message)
