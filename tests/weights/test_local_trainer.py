"""`LocalTrainer` with a Python that runs the real script but only plays the training."""

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
from lmpipe.weights.job_folder import Plan
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
def play(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    return monkeypatch


def steps_of(told: list[TrainingProgress]) -> list[int]:
    return [progress.step for progress in told]


async def test_rows_become_an_adapter_with_its_record(job: TrainingJob) -> None:
    trainer: Trainer = LocalTrainer()
    trainer.check(job)
    told: list[TrainingProgress] = []
    trained = await trainer.train(job, told.append)
    assert steps_of(told) == [0, 1, 2, 3, 4, 5, 6]
    assert told[-1] == TrainingProgress(step=6, steps=6, loss=1 / 6)
    assert trained.hash == read_adapter(job.folder).hash
    assert trained.curve[-1] == (6, pytest.approx(1 / 6))
    assert trained.base["revision"].startswith("sha256:")
    record = json.loads((job.folder / "training.json").read_text())
    assert record["rows"]["count"] == 20
    assert len(record["rows"]["held_out"]) == 2
    assert record["settings"]["rank"] == 16
    assert sorted(item.name for item in job.folder.parent.iterdir()) == ["route"]


async def test_what_is_done_is_not_done_again(job: TrainingJob, play: pytest.MonkeyPatch) -> None:
    first = await LocalTrainer().train(job)
    play.setenv("FAKE_TRAINING", "crash")
    assert await LocalTrainer().train(job) == first


async def test_variables_are_for_the_training_process_alone(job: TrainingJob) -> None:
    with pytest.raises(TrainingError, match="lm_head"):
        await LocalTrainer(variables={"FAKE_TRAINING": "crash"}).train(job)
    assert "FAKE_TRAINING" not in os.environ


async def test_a_damaged_result_is_trained_anew(job: TrainingJob) -> None:
    first = await LocalTrainer().train(job)
    write_adapter(job.folder, rank=16, fill=9)
    assert await LocalTrainer().train(job) == first


async def test_another_job_replaces_the_result_at_once(job: TrainingJob) -> None:
    await LocalTrainer().train(job)
    other = TrainingJob(job.base_model, job.rows, TrainingSettings(rank=8), job.folder)
    trained = await LocalTrainer().train(other)
    assert read_adapter(job.folder).rank == 8
    assert trained.hash == read_adapter(job.folder).hash


async def test_a_folder_with_something_else_in_it_is_left_alone(job: TrainingJob) -> None:
    job.folder.mkdir(parents=True)
    (job.folder / "thesis.txt").write_text("the only copy")
    with pytest.raises(TrainingError, match="no training's result"):
        await LocalTrainer().train(job)
    assert (job.folder / "thesis.txt").read_text() == "the only copy"


async def test_what_libraries_print_is_not_taken_for_news(
    job: TrainingJob, play: pytest.MonkeyPatch
) -> None:
    play.setenv("FAKE_TRAINING", "noisy")
    await LocalTrainer().train(job)
    assert "a library said so" in (job.folder / "training.log").read_text()


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("row", r"training failed: row 3 has 4000 tokens, and max_length is 2048"),
        ("disk", r"training failed: the disk is full: free space .* from its last checkpoint"),
        ("memory", r"training failed: out of memory: lower batch \(now 8\)"),
        ("crash", r"training failed: KeyError: 'lm_head' \(its log: "),
        ("exit", r"(?s)ended with exit code 7\. Train again.*something odd\n  libtorch: it is not"),
        ("kill:1", r"ended by SIGKILL, which the system sends where memory runs out"),
        ("none", r"the training left no weights that can be used"),
    ],
)
async def test_each_failure_is_one_clear_error(
    job: TrainingJob, play: pytest.MonkeyPatch, mode: str, said: str
) -> None:
    play.setenv("FAKE_TRAINING", mode)
    with pytest.raises(TrainingError, match=said):
        await LocalTrainer().train(job)
    assert not job.folder.exists()


async def test_a_killed_training_goes_on_from_its_last_checkpoint(
    job: TrainingJob, play: pytest.MonkeyPatch
) -> None:
    told: list[TrainingProgress] = []
    play.setenv("FAKE_TRAINING", "kill:6")
    with pytest.raises(TrainingError, match="SIGKILL"):
        await LocalTrainer().train(job, told.append)
    assert steps_of(told) == [0, 1, 2, 3, 4, 5]
    told.clear()
    play.setenv("FAKE_TRAINING", "good")
    trained = await LocalTrainer().train(job, told.append)
    assert steps_of(told) == [4, 5, 6]
    assert len(trained.curve) == 6


@pytest.mark.parametrize("changed", ["rows", "settings", "base"])
async def test_a_checkpoint_of_another_job_is_not_gone_on_from(
    job: TrainingJob, play: pytest.MonkeyPatch, changed: str
) -> None:
    play.setenv("FAKE_TRAINING", "kill:6")
    with pytest.raises(TrainingError, match="SIGKILL"):
        await LocalTrainer().train(job)
    settings = TrainingSettings(seed=1) if changed == "settings" else job.settings
    if changed == "rows":
        write_rows(job.rows, sft_rows(21))
    if changed == "base":
        (Path(job.base_model) / "config.json").write_text('{"other": 1}')
    told: list[TrainingProgress] = []
    play.setenv("FAKE_TRAINING", "good")
    other = TrainingJob(job.base_model, job.rows, settings, job.folder)
    await LocalTrainer().train(other, told.append)
    assert told[0].step == 0


async def test_two_processes_do_not_train_the_same_folder(job: TrainingJob) -> None:
    work = Plan.of(job).work
    work.mkdir(parents=True)
    lock = FolderLock.take(work)
    assert lock is not None
    with pytest.raises(TrainingError, match="another process trains"):
        await LocalTrainer().train(job)
    lock.release()
    await LocalTrainer().train(job)


def alive(job: TrainingJob) -> bool:
    """Whether the training process lives: it holds a lock as long as it does."""
    with (Plan.of(job).work / "alive").open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def wait_for_its_end(job: TrainingJob) -> bool:
    """Wait until the training process has ended, at most a minute; whether it has."""

    def wait() -> None:
        with (Plan.of(job).work / "alive").open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    thread.join(60)
    return not thread.is_alive()


async def test_who_gives_up_leaves_no_process_behind(
    job: TrainingJob, play: pytest.MonkeyPatch
) -> None:
    play.setenv("FAKE_TRAINING", "hang")
    in_step = asyncio.Event()
    training = asyncio.create_task(
        LocalTrainer().train(job, lambda told: in_step.set() if told.step else None)
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
asyncio.run(LocalTrainer().train(job, lambda told: print(told.step, flush=True)))
"""


def test_a_killed_parent_leaves_no_process_behind(
    job: TrainingJob, play: pytest.MonkeyPatch
) -> None:
    play.setenv("FAKE_TRAINING", "hang")
    command = [sys.executable, "-c", PARENT, job.base_model, str(job.rows), str(job.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert [parent.stdout.readline() for _ in range(2)] == [b"0\n", b"1\n"]
        assert alive(job)
        os.kill(parent.pid, signal.SIGKILL)
    assert wait_for_its_end(job)


async def test_a_full_disk_here_is_one_clear_error_and_nothing_is_lost(
    job: TrainingJob, play: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with play.context() as patch:
        patch.setattr(job_folder.os, "rename", full)
        with pytest.raises(TrainingError, match=r"cannot write to .*No space left.*where it was"):
            await LocalTrainer().train(job)
    assert not job.folder.exists()
    told: list[TrainingProgress] = []
    await LocalTrainer().train(job, told.append)
    assert steps_of(told) == [6]


@pytest.mark.parametrize("name", ["/nowhere/model", "./model", "a/b/c"])
def test_a_base_model_that_is_missing_is_named_before_anything_is_spent(
    job: TrainingJob, name: str
) -> None:
    with pytest.raises(TrainingError, match=f"base model {name} is missing"):
        LocalTrainer().check(TrainingJob(name, job.rows, job.settings, job.folder))


def test_check_looks_at_the_folder_the_rows_and_the_environment(
    job: TrainingJob, play: pytest.MonkeyPatch
) -> None:
    LocalTrainer().check(TrainingJob("owner/name@main", job.rows, job.settings, job.folder))
    (Path(job.base_model) / "model.safetensors").rename(Path(job.base_model) / "model.bin")
    with pytest.raises(TrainingError, match="has no weights"):
        LocalTrainer().check(job)
    dpo = TrainingSettings(method="dpo")
    with pytest.raises(DataError, match="for training by dpo"):
        LocalTrainer().check(TrainingJob("owner/name", job.rows, dpo, job.folder))
    play.setenv("FAKE_LACKS", "peft")
    with pytest.raises(TrainingError, match="lacks peft"):
        LocalTrainer().check(TrainingJob("owner/name", job.rows, job.settings, job.folder))
