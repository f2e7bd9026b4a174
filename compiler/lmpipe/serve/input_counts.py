"""`InputCounts`: writes how many inputs of each served run are unlike those of its compile."""

from __future__ import annotations

import asyncio
from pathlib import Path

from lmpipe.lm.concurrency.loop import in_thread
from lmpipe.monitoring.served_inputs import ServedInputs
from lmpipe.serve.deployment import Programs
from lmpipe.serve.error_log import ErrorLog


class InputCounts:
    """Writes the counts of all runs that are served, and of those that were."""

    def __init__(self, programs: Programs, errors: ErrorLog) -> None:
        self._programs, self._errors = programs, errors
        self._known: dict[Path, ServedInputs] = {}
        self._failed: dict[Path, str] = {}

    async def run(self, seconds: float) -> None:
        """Write again and again, with a pause in between, and a last time when it is cancelled."""
        try:
            while True:
                self._find()
                await asyncio.sleep(seconds)
                self._find()
                await in_thread(self.write)
        finally:
            self.write()

    def write(self) -> None:
        """Write the counts since the last time."""
        for folder, seen in self._known.items():
            try:
                seen.write()
            except Exception as error:  # noqa: BLE001 - inputs may be of any type
                if self._failed.get(folder) != repr(error):  # told once, not each time
                    self._errors.log(error, f"counting the inputs of {folder.name}")
                self._failed[folder] = repr(error)

    def _find(self) -> None:
        for deployment in self._programs:
            for run in deployment.runs:
                if run.seen is not None:
                    self._known[run.seen.folder] = run.seen
