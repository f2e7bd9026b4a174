"""The processes of a fake vLLM, for tests that check that they end."""

from __future__ import annotations

import os
import select
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Family:
    """The processes of a server: its own and two children that ignore SIGTERM.

    Args:
        folder: the folder to which they write their process ids.
    """

    folder: Path

    @property
    def env(self) -> dict[str, str]:
        """The environment in which the fake vLLM starts children."""
        return {"FAKE_CHILDREN": str(self.folder)}

    def watch(self) -> list[int]:
        """Open a file descriptor for each process, which becomes readable when the process ends."""
        pids = [int(path.read_text()) for path in sorted(self.folder.iterdir())]
        assert len(pids) == 3
        return [os.pidfd_open(pid) for pid in pids]

    @staticmethod
    def gone(watched: list[int]) -> bool:
        """Wait until all processes have ended, up to 30 seconds each; return whether they did."""
        ended = [bool(select.select([one], [], [], 30)[0]) for one in watched]
        for one in watched:
            os.close(one)
        return all(ended)
