"""`run_child`: run a command to its end, within a time limit."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ChildResult:
    """How a command ended, and what it wrote to its output."""

    returncode: int
    output: bytes
    errors: bytes

    @property
    def last_error(self) -> str:
        """The last line that it wrote to its error output; empty if there is none."""
        lines = self.errors.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""


async def run_child(
    *command: str,
    seconds: float,
    folder: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> ChildResult:
    """Run a command without input to its end.

    Args:
        command: the program and its arguments.
        seconds: the time limit.
        folder: where it runs; by default here.
        environment: its variables; by default those of this process.

    Raises:
        TimeoutError: if it takes longer; it is killed.
        OSError: if it cannot be started.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(seconds):
            output, errors = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    return ChildResult(process.returncode or 0, output, errors)
