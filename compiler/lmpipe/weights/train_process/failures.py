"""Errors of a training, explained with a remedy."""

from __future__ import annotations

import errno
import shutil
from typing import Any


class Failure(Exception):  # noqa: N818 - an expected outcome, not a bug in this script
    """The job cannot be done; the message is for the user."""


def explain(error: BaseException, job: dict[str, Any]) -> str:
    """Say what an error of the libraries means, and what to do about it."""
    description = f"{type(error).__name__}: {error}"
    if is_disk_full(error, job["work"]):
        return (
            f"the disk is full: free space where {job['work']} is, and train again; it resumes "
            f"from its last checkpoint ({description})"
        )
    if is_out_of_memory(error):
        return (
            f"out of memory: lower batch (now {job['settings']['batch']}) or max_length, or train "
            f"an adapter instead of full weights ({description:.300})"
        )
    return description


def is_disk_full(error: BaseException, folder: str) -> bool:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if "os error 28" in str(cause) or "No space left on device" in str(cause):
            return True
        # torch reports only that a write failed, not why.
        if "PytorchStreamWriter failed" in str(cause) and shutil.disk_usage(folder).free < 2**20:
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    message = str(error)
    return "not enough memory" in message or "out of memory" in message.lower()
