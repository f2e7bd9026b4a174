"""The processes of a fake vLLM, for tests that see them end."""

from __future__ import annotations

import os
import select
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Family:
    """A server's processes: its own and two children that ignore SIGTERM.

    Args:
        folder: where their process ids are written.
    """

    folder: Path

    @property
    def env(self) -> dict[str, str]:
        """What tells the fake vLLM to start children."""
        return {"FAKE_CHILDREN": str(self.folder)}

    def watch(self) -> list[int]:
        """A descriptor for each process, which tells when it ends."""
        pids = [int(path.read_text()) for path in sorted(self.folder.iterdir())]
        assert len(pids) == 3
        return [os.pidfd_open(pid) for pid in pids]

    @staticmethod
    def gone(watched: list[int]) -> bool:
        """Whether all end within half a minute."""
        ended = [bool(select.select([one], [], [], 30)[0]) for one in watched]
        for one in watched:
            os.close(one)
        return all(ended)
