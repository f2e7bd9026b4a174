"""`LocalTrainer` with the real training process and a simulated training."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from helpers.training import fake_python, sft_rows, write_adapter, write_model, write_rows

from lmpipe.errors import DataError, TrainingError
from lmpipe.foundation.atomic_files import FolderLock
from lmpipe.weights import job_folder
from lmpipe.weights.adapter import read_adapter
from lmpipe.weights.job_folder import prepare_job
from lmpipe.weights.local_trainer import LocalTrainer
from lmpipe.weights.settings import TrainingSettings
from lmpipe.weights.trainer import Trainer, TrainingJob, TrainingProgress

TESTS = Path(__file__).parent.parent


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainingJob:
    monkeypatch.setenv("LMPIPE_TRAIN_PYTHON", str(fake_python(tmp_path)))
    rows = write_rows(tmp_path / "rows.jsonl", sft_rows(20))
    base = write_model(tmp_path / "base")
    return TrainingJob(str(base), rows, TrainingSettings(), tmp_path / "weights" / "route")


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    return monkeypatch


def steps_of(events: list[TrainingProgress]) -> list[int]:
    return [progress.step for progress in events]


async def test_rows_become_an_adapter_with_its_record(job: TrainingJob) -> None:
    trainer: Trainer = LocalTrainer()
    trainer.check(job)
    events: list[TrainingProgress] = []
    trained = await trainer.train(job, events.append)
    assert steps_of(events) == [0, 1, 2, 3, 4, 5, 6]
    assert events[-1] == TrainingProgress(step=6, steps=6, loss=1 / 6)
    assert trained.hash == read_adapter(job.folder).hash
    assert trained.curve[-1] == (6, pytest.approx(1 / 6))
    assert trained.base["revision"].startswith("sha256:")
    record = json.loads((job.folder / "training.json").read_text())
    assert record["rows"]["count"] == 20
    assert len(record["rows"]["held_out"]) == 2
    assert record["settings"]["rank"] == 16
    assert sorted(item.name for item in job.folder.parent.iterdir()) == ["route"]


async def test_a_finished_job_is_not_trained_again(
    job: TrainingJob, env: pytest.MonkeyPatch
) -> None:
    first = await LocalTrainer().train(job)
    env.setenv("FAKE_TRAINING", "crash")
    assert await LocalTrainer().train(job) == first


async def test_variables_reach_only_the_training_process(job: TrainingJob) -> None:
    with pytest.raises(TrainingError, match="lm_head"):
        await LocalTrainer(variables={"FAKE_TRAINING": "crash"}).train(job)
    assert "FAKE_TRAINING" not in os.environ


async def test_the_training_process_gets_no_keys_of_other_services(
    job: TrainingJob, env: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "HF_TOKEN", "GIVEN_API_KEY"):
        env.setenv(name, "secret")
    trainer = LocalTrainer(variables={"FAKE_TRAINING": "environment", "GIVEN_API_KEY": "secret"})
    with pytest.raises(TrainingError) as told:
        await trainer.train(job)
    assert {"HF_TOKEN", "GIVEN_API_KEY"} <= set(str(told.value).split())
    assert "OPENAI_API_KEY" not in str(told.value)


async def test_a_damaged_result_is_trained_again(job: TrainingJob) -> None:
    first = await LocalTrainer().train(job)
    write_adapter(job.folder, rank=16, fill=9)
    assert await LocalTrainer().train(job) == first


async def test_another_job_replaces_the_result(job: TrainingJob) -> None:
    await LocalTrainer().train(job)
    other = TrainingJob(job.base_model, job.rows, TrainingSettings(rank=8), job.folder)
    trained = await LocalTrainer().train(other)
    assert read_adapter(job.folder).rank == 8
    assert trained.hash == read_adapter(job.folder).hash


async def test_a_folder_with_other_files_is_never_replaced(job: TrainingJob) -> None:
    job.folder.mkdir(parents=True)
    (job.folder / "thesis.txt").write_text("the only copy")
    with pytest.raises(TrainingError, match="other than a training's result"):
        await LocalTrainer().train(job)
    assert (job.folder / "thesis.txt").read_text() == "the only copy"


async def test_output_of_libraries_is_not_taken_for_events(
    job: TrainingJob, env: pytest.MonkeyPatch
) -> None:
    env.setenv("FAKE_TRAINING", "noisy")
    await LocalTrainer().train(job)
    assert "a library said so" in (job.folder / "training.log").read_text()


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("row", r"training failed: row 3 has 4000 tokens, and max_length is 2048"),
        ("disk", r"training failed: the disk is full: free space .* from its last checkpoint"),
        ("memory", r"training failed: out of memory: lower batch \(now 8\)"),
        ("crash", r"training failed: KeyError: 'lm_head' \(log: "),
        ("exit", r"(?s)ended with exit code 7\. Train again.*something odd\n  libtorch: it is not"),
        ("kill:1", r"ended by SIGKILL, which the system sends when memory runs out"),
        ("none", r"the training left no usable weights"),
    ],
)
async def test_each_failure_is_explained(
    job: TrainingJob, env: pytest.MonkeyPatch, mode: str, message: str
) -> None:
    env.setenv("FAKE_TRAINING", mode)
    with pytest.raises(TrainingError, match=message):
        await LocalTrainer().train(job)
    assert not job.folder.exists()


async def test_a_killed_training_resumes_from_its_last_checkpoint(
    job: TrainingJob, env: pytest.MonkeyPatch
) -> None:
    events: list[TrainingProgress] = []
    env.setenv("FAKE_TRAINING", "kill:6")
    with pytest.raises(TrainingError, match="SIGKILL"):
        await LocalTrainer().train(job, events.append)
    assert steps_of(events) == [0, 1, 2, 3, 4, 5]
    events.clear()
    env.setenv("FAKE_TRAINING", "good")
    trained = await LocalTrainer().train(job, events.append)
    assert steps_of(events) == [4, 5, 6]
    assert len(trained.curve) == 6


@pytest.mark.parametrize("changed", ["rows", "settings", "base"])
async def test_a_checkpoint_of_another_job_is_not_used(
    job: TrainingJob, env: pytest.MonkeyPatch, changed: str
) -> None:
    env.setenv("FAKE_TRAINING", "kill:6")
    with pytest.raises(TrainingError, match="SIGKILL"):
        await LocalTrainer().train(job)
    settings = TrainingSettings(seed=1) if changed == "settings" else job.settings
    if changed == "rows":
        write_rows(job.rows, sft_rows(21))
    if changed == "base":
        (Path(job.base_model) / "config.json").write_text('{"other": 1}')
    events: list[TrainingProgress] = []
    env.setenv("FAKE_TRAINING", "good")
    other = TrainingJob(job.base_model, job.rows, settings, job.folder)
    await LocalTrainer().train(other, events.append)
    assert events[0].step == 0


async def test_two_processes_do_not_train_the_same_folder(job: TrainingJob) -> None:
    work = prepare_job(job).work
    work.mkdir(parents=True)
    lock = FolderLock.take(work)
    assert lock is not None
    with pytest.raises(TrainingError, match="another process is already training"):
        await LocalTrainer().train(job)
    lock.release()
    await LocalTrainer().train(job)


def alive(job: TrainingJob) -> bool:
    """Whether the training process is alive: it holds a lock until its end."""
    with (prepare_job(job).work / "alive").open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def wait_for_its_end(job: TrainingJob) -> bool:
    """Wait at most a minute for the end of the training process; return whether it ended."""

    def wait() -> None:
        with (prepare_job(job).work / "alive").open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    thread.join(60)
    return not thread.is_alive()


async def test_a_cancelled_training_leaves_no_process(
    job: TrainingJob, env: pytest.MonkeyPatch
) -> None:
    env.setenv("FAKE_TRAINING", "hang")
    in_step = asyncio.Event()
    training = asyncio.create_task(
        LocalTrainer().train(job, lambda progress: in_step.set() if progress.step else None)
    )
    await in_step.wait()
    assert alive(job)
    training.cancel()
    with pytest.raises(asyncio.CancelledError):
        await training
    assert not alive(job)


PARENT = """
import asyncio, sys
from pathlib import Path
from lmpipe.weights.local_trainer import LocalTrainer
from lmpipe.weights.settings import TrainingSettings
from lmpipe.weights.trainer import TrainingJob

base, rows, folder = sys.argv[1:]
job = TrainingJob(base, Path(rows), TrainingSettings(), Path(folder))
asyncio.run(LocalTrainer().train(job, lambda progress: print(progress.step, flush=True)))
"""


def test_a_killed_parent_leaves_no_process(job: TrainingJob, env: pytest.MonkeyPatch) -> None:
    env.setenv("FAKE_TRAINING", "hang")
    command = [sys.executable, "-c", PARENT, job.base_model, str(job.rows), str(job.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert [parent.stdout.readline() for _ in range(2)] == [b"0\n", b"1\n"]
        assert alive(job)
        os.kill(parent.pid, signal.SIGKILL)
    assert wait_for_its_end(job)


async def test_a_full_disk_is_an_error_and_nothing_is_lost(
    job: TrainingJob, env: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with env.context() as patch:
        patch.setattr(job_folder.os, "rename", full)
        with pytest.raises(
            TrainingError, match=r"cannot write to .*No space left.*where it stopped"
        ):
            await LocalTrainer().train(job)
    assert not job.folder.exists()
    events: list[TrainingProgress] = []
    await LocalTrainer().train(job, events.append)
    assert steps_of(events) == [6]


@pytest.mark.parametrize("name", ["/nowhere/model", "./model", "a/b/c"])
def test_a_missing_base_model_is_refused_by_check(job: TrainingJob, name: str) -> None:
    with pytest.raises(TrainingError, match=f"base model {name} is missing"):
        LocalTrainer().check(TrainingJob(name, job.rows, job.settings, job.folder))


def test_check_covers_the_base_model_the_rows_and_the_environment(
    job: TrainingJob, env: pytest.MonkeyPatch
) -> None:
    LocalTrainer().check(TrainingJob("owner/name@main", job.rows, job.settings, job.folder))
    (Path(job.base_model) / "model.safetensors").rename(Path(job.base_model) / "model.bin")
    with pytest.raises(TrainingError, match="has no weights"):
        LocalTrainer().check(job)
    dpo = TrainingSettings(method="dpo")
    with pytest.raises(DataError, match="method='dpo' needs"):
        LocalTrainer().check(TrainingJob("owner/name", job.rows, dpo, job.folder))
    env.setenv("FAKE_LACKS", "peft")
    with pytest.raises(TrainingError, match="lacks peft"):
        LocalTrainer().check(TrainingJob("owner/name", job.rows, job.settings, job.folder))
