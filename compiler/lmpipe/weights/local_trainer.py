"""`LocalTrainer`: trains on this machine, in a process and an environment of its own."""

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
from lmpipe.weights.environment import training_environment
from lmpipe.weights.job_folder import LOG, Plan, disk_errors, finished, put_in_place, working
from lmpipe.weights.trainer import OnProgress, Trained, TrainingJob, TrainingProgress

SCRIPT = Path(__file__).with_name("train_script.py")
_LINE = 2**20  # bytes; the longest line that the script writes
_TAIL = 12  # lines of the log in a message


class LocalTrainer:
    """Trains with TRL and PEFT in a subprocess.

    A training that was broken off, however that came, is gone on with from its last checkpoint
    by training the same job again. One that is done is not done again.

    Args:
        variables: environment variables of the training process, beside those of this one, such
            as `CUDA_VISIBLE_DEVICES` for the device or `OMP_NUM_THREADS` for the cores.
    """

    def __init__(self, *, variables: Mapping[str, str] | None = None) -> None:
        self._variables = {**(variables or {}), "PYTHONUNBUFFERED": "1"}

    def check(self, job: TrainingJob) -> None:
        """See that the job makes sense and that there is an environment to train it in.

        Raises:
            TrainingError: if there is no environment, or the base model's folder is none.
            DataError: if a row is no row.
        """
        finished(Plan.of(job))
        training_environment()

    async def train(self, job: TrainingJob, on_progress: OnProgress | None = None) -> Trained:
        """Train, or go on from the last checkpoint.

        Raises:
            TrainingError: if the environment or the base model is missing, a row is too long, the
                disk or the memory is full, the loss is no number, or the process dies.
            DataError: if a row is no row.
        """
        plan = await asyncio.to_thread(Plan.of, job)
        if done := await asyncio.to_thread(finished, plan):
            return done
        python = (await asyncio.to_thread(training_environment)).python
        with working(plan) as work:
            await _run_script(python, work, self._variables, on_progress)
            return await asyncio.to_thread(_finish, plan)


def _finish(plan: Plan) -> Trained:
    try:
        outcome = json.loads((plan.work / "outcome.json").read_bytes())
    except (OSError, ValueError) as error:
        raise TrainingError(
            f"the training process left no word of what it did: {error}. Train again"
        ) from error
    return put_in_place(plan, outcome)


async def _run_script(
    python: Path, work: Path, variables: Mapping[str, str], on_progress: OnProgress | None
) -> None:
    log = work / LOG
    said, failure = False, ""
    async with _process(python, work, log, variables) as process:
        assert process.stdout is not None
        async for line in process.stdout:
            event = _event(line)
            if event.get("event") == "failed":
                failure = str(event.get("message"))
            elif event.get("event") == "done":
                said = True
            elif on_progress is not None and event.get("event") in ("started", "step"):
                on_progress(_progress(event))
        code = await process.wait()
    if failure:
        raise TrainingError(f"training failed: {failure} (its log: {log})")
    if code != 0 or not said:
        raise TrainingError(_died(code, log))


@asynccontextmanager
async def _process(
    python: Path, work: Path, log: Path, variables: Mapping[str, str]
) -> AsyncIterator[asyncio.subprocess.Process]:
    """The script's process; it is gone when this is left, and when this process is."""
    with disk_errors(work), log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            str(python),
            str(SCRIPT),
            str(work / "job.json"),
            # Open for as long as this process lives: its end is the script's end.
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            env={**os.environ, **variables},
            limit=_LINE,
            # Ctrl-C is for this process, which then ends the script.
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await asyncio.shield(process.wait())


def _event(line: bytes) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except ValueError:
        return {}  # what some library wrote past Python's own standard output
    return event if isinstance(event, dict) else {}


def _progress(event: dict[str, Any]) -> TrainingProgress:
    return TrainingProgress(
        step=event["step"],
        steps=event["steps"],
        loss=event.get("loss"),
        held_out_loss=event.get("held_out_loss"),
        seconds_left=event.get("seconds_left"),
    )


def _died(code: int, log: Path) -> str:
    what = f"ended with exit code {code}"
    if code < 0:
        what = f"was ended by {signal.Signals(-code).name}"
        if -code == signal.SIGKILL:
            what += ", which the system sends where memory runs out"
    tail = log.read_text(errors="replace").splitlines()[-_TAIL:] if log.exists() else []
    last = "\n  ".join(line.rstrip() for line in tail) or "(nothing)"
    return (
        f"the training process {what}. Train again to go on from its last checkpoint. The last "
        f"lines of its log ({log}):\n  {last}"
    )
