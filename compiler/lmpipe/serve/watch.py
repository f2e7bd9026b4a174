"""`Watch`: swaps in a new run of a program when its compile has ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from lmpipe.errors import LmpipeError
from lmpipe.lm.concurrency.loop import in_thread
from lmpipe.serve.deployment import Deployment, Programs, ServedRun
from lmpipe.serve.error_log import ErrorLog
from lmpipe.serve.run_source import RunSource

log = logging.getLogger("lmpipe.serve")


class Watch:
    """Looks for runs that are newer than those that are served.

    A program whose requests several runs share is left alone: the shares are an experiment.
    """

    def __init__(
        self, programs: Programs, sources: Mapping[str, RunSource], errors: ErrorLog
    ) -> None:
        self._programs, self._sources, self._errors = programs, sources, errors
        self._refused: set[tuple[str, str]] = set()
        self._failed: dict[str, str] = {}

    async def run(self, seconds: float) -> None:
        """Look again and again, with a pause in between."""
        while True:
            await asyncio.sleep(seconds)
            await self.look()

    async def look(self) -> None:
        """Swap in the newest run of each program, if there is a newer one."""
        for name, source in self._sources.items():
            try:
                await self._look_for(name, source)
            except Exception as error:  # noqa: BLE001 - a folder may go while it is read
                if self._failed.get(name) != repr(error):  # told once, not at each look
                    self._errors.log(error, f"the look for newer runs of {name}")
                self._failed[name] = repr(error)

    async def _look_for(self, name: str, source: RunSource) -> None:
        deployment = self._programs.get(name)
        if deployment is None or len(deployment.runs) > 1:
            return
        newer = await in_thread(self._newer, source, deployment.runs[0])
        # Another swap may have come in between.
        if newer is not None and self._programs.get(name) is deployment:
            self._programs.swap(Deployment([newer], [1.0]))
            log.info("%s: %s replaces %s", name, newer.run, deployment.runs[0].run)

    def _newer(self, source: RunSource, now: ServedRun) -> ServedRun | None:
        run = source.newest()
        if run is None or run == now.run or (now.name, run) in self._refused:
            return None
        if source.started(run) <= source.started(now.run):
            return None  # the operator chose a newer one that is not the best by its own test
        try:
            return source.open(run)
        except LmpipeError as error:
            self._refused.add((now.name, run))  # told once, not at each look
            self._errors.log(error, f"swap of {now.name} to {run}")
            return None
