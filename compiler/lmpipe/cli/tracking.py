"""`tracking`: a compile of the command line at MLflow, if the user wants it there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lmpipe.cli.failures import say_error

if TYPE_CHECKING:
    from lmpipe.compiling.run import Run
    from lmpipe.integrations.mlflow.tracking import MlflowTracking


class Tracked:
    """What a compile is logged by: nothing, or a watcher."""

    def __init__(self, watcher: MlflowTracking | None) -> None:
        self.watchers = [] if watcher is None else [watcher]
        self.prompts: list[str] = []

    def register(self, run: Run) -> None:
        """Register the prompts of a compile, to be linked with its run."""
        if not self.watchers:
            return
        from lmpipe.compiling.run_folder import read_artifact
        from lmpipe.errors import LmpipeError
        from lmpipe.integrations.registries.entry import prompt_entries
        from lmpipe.integrations.registries.mlflow import register_at_mlflow

        try:
            entries = prompt_entries(run.program, read_artifact(run.path))
            self.prompts = register_at_mlflow(entries)
        except LmpipeError as error:
            say_error(f"the prompts are not registered at MLflow: {error}")


@contextmanager
def tracking(wanted: bool) -> Iterator[Tracked]:
    """Log what is compiled in a block at MLflow, if it is wanted.

    Raises:
        ConfigError: if it is wanted and the environment names no server.
    """
    if not wanted:
        yield Tracked(None)
        return
    from lmpipe.integrations.mlflow.tracking import MlflowTracking

    watcher = MlflowTracking()
    tracked = Tracked(watcher)
    try:
        yield tracked
    finally:
        watcher.close(tracked.prompts)
        if watcher.error is not None:
            say_error(
                f"not all was logged at MLflow: {watcher.error}\n"
                "  `lmpipe export RUN --to mlflow-run` logs what is missing"
            )
        elif watcher.url:
            say_error(f"MLflow      {watcher.url}")
