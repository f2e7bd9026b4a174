"""Compiles at MLflow: while they run (`MlflowTracking`), or afterwards (`track_in_mlflow`)."""

from __future__ import annotations

import atexit
import json
import queue
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Self, TypeAlias

from lmpipe.compiling.run_folder import read_manifest
from lmpipe.integrations.mlflow import contents
from lmpipe.integrations.mlflow.contents import Metric
from lmpipe.integrations.mlflow.server import mlflow_address, mlflow_api
from lmpipe.integrations.mlflow.tracked_run import TrackedRun, experiment_name
from lmpipe.integrations.registries.json_api import JsonApi
from lmpipe.optimize.engine.events import Candidate, Progress, WatcherBase
from lmpipe.report.run_files import read_run

_Jobs: TypeAlias = "queue.SimpleQueue[Callable[[TrackedRun], None] | None]"

_STATUS = {"done": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}


def track_in_mlflow(
    folder: str | Path, *, experiment: str | None = None, prompts: Sequence[str] = ()
) -> str:
    """Log the compile of a run folder as a run of MLflow, and return the address of its page.

    It has the parts of the recipe as parameters, the score and the cost of each candidate as
    metrics by step, the test, the spend and the ablation as metrics, and the files of the folder
    and the learned prompts as artifacts. A folder that was logged before is not logged again, and
    one that was logged in part gets what is missing. `MLFLOW_TRACKING_URI` names the server.

    Args:
        folder: the run folder.
        experiment: the experiment; by default `$MLFLOW_EXPERIMENT_NAME`, or the program's name.
        prompts: registered prompts to link, such as `prompts:/Tickets.route/1`.

    Raises:
        ConfigError: if the environment does not name a server.
        ArtifactError: if it is not a run folder, or damaged.
        RegistryError: if the server does not answer, or refuses.
    """
    path = Path(folder)
    run = read_run(path)
    with mlflow_api() as api:
        tracked = _open(api, path, experiment)
        if not tracked.finished:
            metrics = contents.recorded_metrics(run)
            metrics += contents.best_so_far(metrics)
            tracked.metrics([item for item in metrics if item.step >= tracked.logged])
            tracked.note_logged(len(run.candidates))
        _finish(tracked, path, prompts)
        return tracked.url


def _open(api: JsonApi, folder: Path, experiment: str | None) -> TrackedRun:
    """Find or create the run of a run folder, with its parameters."""
    manifest = read_manifest(folder)
    program = manifest.get("program") or {}
    tracked = TrackedRun.open(
        api,
        experiment=experiment_name(experiment, str(program.get("name", ""))),
        name=folder.resolve().name,
        started=contents.started_at(manifest),
    )
    tracked.params(contents.params_of(manifest))
    return tracked


def _finish(tracked: TrackedRun, folder: Path, prompts: Sequence[str]) -> None:
    """Log what is known at the end, and say how the compile ended."""
    manifest = contents.read_manifest_record(folder)
    ended = contents.started_at(read_manifest(folder)) + (manifest.seconds or 0)
    if not tracked.finished:
        tracked.metrics(contents.final_metrics(manifest, ended))
    tags = {
        "lmpipe.version": manifest.versions.get("lmpipe", ""),
        "lmpipe.state": manifest.best.state if manifest.best else "",
        "lmpipe.best": manifest.best.name if manifest.best else "",
        "lmpipe.file": manifest.program.file or "",
        "lmpipe.stopped": manifest.stopped,
        "lmpipe.error": manifest.error,
    }
    if prompts:
        linked = [dict(zip(("name", "version"), _parsed(item), strict=True)) for item in prompts]
        tags["mlflow.linkedPrompts"] = json.dumps(linked)
    tracked.tags({name: text for name, text in tags.items() if text})
    for name, data in _files(folder):
        if not tracked.artifact(name, data):
            warnings.warn(
                "this MLflow server leaves files to its clients, so those of the run folder are "
                "not logged: start it with --serve-artifacts",
                stacklevel=3,
            )
            break
    if status := _STATUS.get(manifest.status):
        tracked.end(status, ended)


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the files of a run, and the prompts that it learned, with their names."""
    for name, text in contents.prompt_texts(contents.learned_state(folder)).items():
        yield f"prompts/{name}", text.encode()
    for file in contents.files_of(folder):
        yield file.name, file.read_bytes()


def _parsed(uri: str) -> tuple[str, str]:
    name, _, version = uri.removeprefix("prompts:/").rpartition("/")
    return name, version


class MlflowTracking(WatcherBase):
    """A watcher that logs a compile at MLflow while it runs.

        with lmpipe.MlflowTracking() as tracking:
            lmpipe.compile(recipe, watchers=[tracking])
        print(tracking.url)

    A server that is gone does not stop the compile: `track_in_mlflow` logs it afterwards.

    Args:
        experiment: the experiment; by default `$MLFLOW_EXPERIMENT_NAME`, or the program's name.

    Raises:
        ConfigError: if the environment does not name a server.

    Attributes:
        url: the address of the page of the run; empty before it exists.
        error: why not all was logged, or None.
    """

    def __init__(self, *, experiment: str | None = None) -> None:
        mlflow_address()  # before anything is paid for
        self._experiment = experiment
        self._folder: Path | None = None
        self._calls = 0
        self._best = 0.0
        # Requests are sent by a thread of their own: the compile does not wait for them.
        self._jobs: _Jobs = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self.url = ""
        self.error: Exception | None = None

    def opened(self, folder: Path) -> None:
        """Begin to log the compile whose run folder this is."""
        self._end(())  # of the compile before, which nobody closed
        self._folder, self._calls, self._best = folder, 0, 0.0
        self.url, self.error, self._jobs = "", None, queue.SimpleQueue()
        thread = threading.Thread(
            target=self._log, args=(folder, self._jobs), name="lmpipe-mlflow", daemon=True
        )
        thread.start()
        self._threads.append(thread)
        atexit.register(self.close)  # if nobody does: the rest is sent, and the process ends

    def progress(self, progress: Progress) -> None:
        self._calls = progress.spend.calls

    def candidate(self, candidate: Candidate, *, best: bool) -> None:
        now, number = time.time(), candidate.number
        metrics = contents.candidate_metrics(
            number,
            candidate.score,
            complete=candidate.complete,
            per_run=candidate.per_run(),
            calls=self._calls,
            at=now,
        )
        if candidate.complete:
            self._best = max(self._best, candidate.score)
            metrics.append(Metric("validation_best", self._best, number, now))

        def log(tracked: TrackedRun) -> None:
            if number >= tracked.logged:  # a compile that goes on repeats its first candidates
                tracked.metrics(metrics)
                tracked.note_logged(number + 1)

        self._jobs.put(log)

    def close(self, prompts: Sequence[str] = ()) -> None:
        """Log what is known at the end, once the compile has ended.

        Args:
            prompts: registered prompts to link, such as `prompts:/Tickets.route/1`.
        """
        atexit.unregister(self.close)
        self._end(prompts)
        while self._threads:
            self._threads.pop().join()

    def _end(self, prompts: Sequence[str]) -> None:
        """Let the thread end after what it has to log; it is not waited for."""
        if (folder := self._folder) is not None:
            self._folder = None
            self._jobs.put(lambda tracked: _finish(tracked, folder, prompts))
            self._jobs.put(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
        if self.error is not None:
            warnings.warn(f"not all was logged at MLflow: {self.error}", stacklevel=2)

    def _log(self, folder: Path, jobs: _Jobs) -> None:
        """Send requests until None comes; after an error, send no more."""
        try:
            with mlflow_api() as api:
                tracked = _open(api, folder, self._experiment)
                tracked.resume()
                self.url = tracked.url
                while (job := jobs.get()) is not None:
                    job(tracked)
                return
        except Exception as error:  # noqa: BLE001 - the compile goes on, and `error` says why not
            self.error = error
        while jobs.get() is not None:
            pass
