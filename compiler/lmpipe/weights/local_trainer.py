"""`LocalTrainer`: trains on this machine, in a subprocess with its own Python environment."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from lmpipe.errors import TrainingError
from lmpipe.foundation.child_environment import child_environment
from lmpipe.foundation.storing import open_own
from lmpipe.weights.environment import training_environment
from lmpipe.weights.job_folder import (
    LOG,
    PreparedJob,
    disk_errors,
    find_result,
    install_result,
    open_work_folder,
    prepare_job,
)
from lmpipe.weights.trainer import OnProgress, TrainingJob, TrainingProgress, TrainingResult

SCRIPT = Path(__file__).parent / "train_process" / "__main__.py"
_MAX_LINE = 2**20  # bytes
_TAIL = 12  # log lines in an error message


class LocalTrainer:
    """Trains with TRL and PEFT in a subprocess.

    Training an interrupted job again resumes it from its last checkpoint. A finished job is not
    trained again.

    Args:
        variables: additional environment variables of the subprocess, such as
            `CUDA_VISIBLE_DEVICES` to choose the device or `OMP_NUM_THREADS` to limit the cores. It
            also gets those of this process, except keys of services that it does not use.
    """

    hosted = False

    def __init__(self, *, variables: Mapping[str, str] | None = None) -> None:
        self._variables = {**(variables or {}), "PYTHONUNBUFFERED": "1"}

    def check(self, job: TrainingJob) -> None:
        """Check that the job is valid and that there is an environment to train it in.

        Raises:
            TrainingError: if the environment is missing, or the base model's folder is not valid.
            DataError: if a row is not valid.
        """
        find_result(prepare_job(job))
        training_environment()

    async def train(
        self, job: TrainingJob, on_progress: OnProgress | None = None
    ) -> TrainingResult:
        """Train, or resume from the last checkpoint.

        Raises:
            TrainingError: if the environment or the base model is missing, a row is too long, the
                disk or the memory is full, the loss is not finite, or the process dies.
            DataError: if a row is not valid.
        """
        prepared = await asyncio.to_thread(prepare_job, job)
        if result := await asyncio.to_thread(find_result, prepared):
            return result
        python = (await asyncio.to_thread(training_environment)).python
        with open_work_folder(prepared) as work:
            await _run_script(python, work, self._variables, on_progress)
            return await asyncio.to_thread(_install, prepared)


def _install(prepared: PreparedJob) -> TrainingResult:
    try:
        outcome = json.loads((prepared.work / "outcome.json").read_bytes())
    except (OSError, ValueError) as error:
        raise TrainingError(
            f"the training process left no readable outcome.json: {error}. Train again"
        ) from error
    return install_result(prepared, outcome)


async def _run_script(
    python: Path, work: Path, variables: Mapping[str, str], on_progress: OnProgress | None
) -> None:
    log = work / LOG
    done, failure = False, ""
    async with _process(python, work, log, variables) as process:
        assert process.stdout is not None
        async for line in process.stdout:
            event = _read_event(line)
            kind = event.pop("event", None)
            if kind == "failed":
                failure = str(event.get("message"))
            elif kind == "done":
                done = True
            elif on_progress is not None and kind in ("started", "step"):
                on_progress(TrainingProgress(**event))
        code = await process.wait()
    if failure:
        raise TrainingError(f"training failed: {failure} (log: {log})")
    if code != 0 or not done:
        raise TrainingError(_explain_death(code, log))


@asynccontextmanager
async def _process(
    python: Path, work: Path, log: Path, variables: Mapping[str, str]
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the script; it ends when the block is left, and when this process ends."""
    with disk_errors(work), os.fdopen(open_own(log, os.O_WRONLY | os.O_APPEND), "ab") as errors:
        process = await asyncio.create_subprocess_exec(
            str(python),
            str(SCRIPT),
            str(work / "job.json"),
            # Open for as long as this process lives: the script ends when it closes.
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            env={**child_environment(os.environ), **variables},
            limit=_MAX_LINE,
            # Ctrl-C reaches this process only, which then ends the script.
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await asyncio.shield(process.wait())


def _read_event(line: bytes) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except ValueError:
        return {}  # a library wrote to the process's standard output directly
    return event if isinstance(event, dict) else {}


def _explain_death(code: int, log: Path) -> str:
    what = f"ended with exit code {code}"
    if code < 0:
        what = f"was ended by {signal.Signals(-code).name}"
        if -code == signal.SIGKILL:
            what += ", which the system sends when memory runs out"
    tail = log.read_text(errors="replace").splitlines()[-_TAIL:] if log.exists() else []
    last = "\n  ".join(line.rstrip() for line in tail) or "(empty)"
    return (
        f"the training process {what}. Train again to resume from its last checkpoint. The last "
        f"lines of its log ({log}):\n  {last}"
    )
