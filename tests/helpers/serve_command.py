"""`lmpipe serve` in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def serving(folder: Path, *arguments: str, **env: str) -> Iterator[tuple[Any, str]]:
    """Run the command on a free port; yields the process and the server's address."""
    command = [sys.executable, "-m", "lmpipe", "serve", *arguments, "--port", "0"]
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **env},
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip().startswith("http://"):
                yield process, line.strip().removesuffix("/docs")
                break
        else:
            raise AssertionError(process.communicate())
    finally:
        process.kill()
        process.communicate()
