"""`RunSource`: the runs that a server may swap in for one program, from its folder of runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lmpipe.compiling.run_folder import MANIFEST, read_manifest
from lmpipe.errors import ArtifactError
from lmpipe.report.records import Manifest
from lmpipe.report.run_files import parse_manifest
from lmpipe.serve.deployment import ServedRun


@dataclass(frozen=True)
class RunSource:
    """The runs of one program.

    No code runs when one is opened: what it learned is bound to the program that is served.

    Args:
        folder: the folder that holds the run folders.
        program: the name of the program in their manifests.
        open_run: opens a run folder; raises an InputError if it does not fit the program.
    """

    folder: Path
    program: str
    open_run: Callable[[Path], ServedRun]

    def open(self, run: str) -> ServedRun:
        """Open the run folder of this name.

        Raises:
            ArtifactError: if there is none in the folder of runs, or it is not finished.
            InputError: if it was learned for other predictors or signatures.
        """
        # A name, not a path: a client must not have any folder of this machine read.
        if run not in self._names():
            raise ArtifactError(f"there is no run folder {run!r:.100} beside those that are served")
        return self.open_run(self.folder / run)

    def newest(self) -> str | None:
        """Return the name of the run that was started last and is worth serving.

        It is done, and its final test, if it had one, found it better than its baseline.
        """
        found: list[tuple[str, str]] = []
        for name in self._names():
            manifest = self._manifest(name)
            if manifest is None or manifest.program.name != self.program:
                continue
            improved = manifest.test is None or manifest.test.deciding[0] > 0
            if manifest.status == "done" and improved:
                found.append((manifest.started, name))
        return max(found)[1] if found else None

    def started(self, run: str) -> str:
        """Return when a run was started; empty if it is not known."""
        manifest = self._manifest(run) if run in self._names() else None
        return manifest.started if manifest else ""

    def _names(self) -> set[str]:
        return {file.parent.name for file in self.folder.glob(f"*/{MANIFEST}")}

    def _manifest(self, run: str) -> Manifest | None:
        folder = self.folder / run
        try:
            return parse_manifest(read_manifest(folder), folder)
        except ArtifactError:
            return None  # of another version, or just being written
