"""`HostedTrainer` with a local server that has OpenAI's fine-tuning API."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from helpers.host import KEY, Host, running_host, trainer_at
from helpers.training import dpo_rows, sft_rows, write_model, write_rows

from lmpipe.errors import ConfigError, RecipeError, TrainingError
from lmpipe.weights.hosted_trainer import HostedTrainer
from lmpipe.weights.settings import TrainingSettings
from lmpipe.weights.trainer import Trainer, TrainingJob, TrainingProgress


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    async with running_host() as host:
        yield host


@pytest.fixture
def job(tmp_path: Path) -> TrainingJob:
    rows = write_rows(tmp_path / "rows.jsonl", sft_rows(20))
    return TrainingJob("gpt-small", rows, TrainingSettings(), tmp_path / "weights" / "route")


async def test_the_result_is_a_models_name(host: Host, job: TrainingJob) -> None:
    trainer: Trainer = trainer_at(host)
    trainer.check(job)
    progress: list[TrainingProgress] = []
    trained = await trainer.train(job, progress.append)
    assert trained.model == "ft:gpt-small:acme::1"
    assert trained.curve == ((1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3)))
    assert trained.held_out == ((1, 2.0), (2, 1.0), (3, pytest.approx(2 / 3)))
    assert trained.seconds == 60.0
    assert trained.base == {"model": "gpt-small", "revision": ""}
    assert [(item.step, item.steps) for item in progress] == [(3, 3), (3, 3)]
    record = json.loads((job.folder / "training.json").read_text())
    assert record["model"] == trained.model


async def test_the_request_has_openais_format(host: Host, job: TrainingJob) -> None:
    await trainer_at(host).train(job)
    (order,) = host.jobs
    assert order["method"] == {
        "type": "supervised",
        "supervised": {"hyperparameters": {"n_epochs": 3, "batch_size": 8}},
    }
    trained, watched = (
        [json.loads(line) for line in host.files[order[name]].splitlines()]
        for name in ("training_file", "validation_file")
    )
    assert (len(trained), len(watched)) == (18, 2)
    expected = [{"messages": [*row["prompt"], *row["completion"]]} for row in sft_rows(20)]
    assert sorted_lines(trained + watched) == sorted_lines(expected)


def sorted_lines(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(json.dumps(row, sort_keys=True) for row in rows)


async def test_preference_rows_have_openais_format(host: Host, job: TrainingJob) -> None:
    write_rows(job.rows, dpo_rows(3))
    settings = TrainingSettings(method="dpo", eval_fraction=0.0, beta=0.2)
    await trainer_at(host).train(TrainingJob(job.base_model, job.rows, settings, job.folder))
    (order,) = host.jobs
    assert order["method"]["type"] == "dpo"
    assert order["method"]["dpo"]["hyperparameters"]["beta"] == 0.2
    assert "validation_file" not in order
    first = json.loads(host.files[order["training_file"]].splitlines()[0])
    row = dpo_rows(1)[0]
    assert first == {
        "input": {"messages": row["prompt"]},
        "preferred_output": row["chosen"],
        "non_preferred_output": row["rejected"],
    }


async def test_a_finished_job_sends_no_requests(host: Host, job: TrainingJob) -> None:
    first = await trainer_at(host).train(job)
    before = len(host.requests)
    assert await trainer_at(host).train(job) == first
    assert len(host.requests) == before


async def test_an_interrupted_wait_finds_the_same_job_again(host: Host, job: TrainingJob) -> None:
    host.polls = 1000
    polled = asyncio.Event()
    waiting = asyncio.create_task(trainer_at(host).train(job, lambda _: polled.set()))
    await polled.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    host.polls = 1
    trained = await trainer_at(host).train(job)
    assert trained.model == "ft:gpt-small:acme::1"
    assert len(host.jobs) == 1
    assert len(host.files) == 2


async def test_a_job_whose_response_was_lost_is_not_created_twice(
    host: Host, job: TrainingJob
) -> None:
    # Two uploads and the list of jobs succeed; the response of the new job is lost.
    host.failures = ["", "", "", "lost"]
    await trainer_at(host).train(job)
    assert len(host.jobs) == 1


async def test_requests_to_an_overloaded_server_are_retried(host: Host, job: TrainingJob) -> None:
    host.failures = [429, 503]
    assert (await trainer_at(host).train(job)).model
    host.failures = [500] * 3
    other = TrainingJob(job.base_model, job.rows, TrainingSettings(seed=1), job.folder)
    with pytest.raises(TrainingError, match=r"answered 500: .*3 attempts"):
        await trainer_at(host).train(other)


async def test_a_failed_job_is_explained_and_the_next_attempt_is_a_new_job(
    host: Host, job: TrainingJob
) -> None:
    host.ends_as = "failed"
    with pytest.raises(TrainingError, match="ended as failed: the rows are unsafe"):
        await trainer_at(host).train(job)
    assert not job.folder.exists()
    host.ends_as = "succeeded"
    await trainer_at(host).train(job)
    assert len(host.jobs) == 2


def files_with(text: str, folder: Path) -> list[Path]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if text.encode() in path.read_bytes()]


async def test_the_key_never_appears_in_messages_files_or_logs(
    host: Host, job: TrainingJob, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    messages = []
    host.failures = [400]
    with pytest.raises(TrainingError) as refused:
        await trainer_at(host).train(job)
    messages.append(str(refused.value))
    host.ends_as = "failed"
    with pytest.raises(TrainingError) as failed:
        await trainer_at(host).train(job)
    messages.append(str(failed.value))
    with pytest.raises(TrainingError) as unknown:
        await trainer_at(host, key=f"{KEY}-but-wrong").train(job)
    messages.append(str(unknown.value))
    host.ends_as = "succeeded"
    await trainer_at(host).train(job)
    assert [KEY in text for text in (*messages, repr(trainer_at(host)), caplog.text)] == [False] * 5
    assert files_with(KEY, tmp_path) == []
    assert files_with("gpt-small", tmp_path) != []


def test_openai_needs_a_key(job: TrainingJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(TrainingError, match="set OPENAI_API_KEY"):
        HostedTrainer().check(job)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    HostedTrainer().check(job)


async def test_another_server_does_not_get_openais_key(
    host: Host, job: TrainingJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with pytest.raises(TrainingError, match="401"):
        await HostedTrainer(base_url=host.base_url).train(job)


def test_a_timeout_out_of_range_is_an_error() -> None:
    with pytest.raises(ConfigError, match="timeout must be above 0"):
        HostedTrainer(timeout=0)


def test_unsupported_jobs_are_refused_by_check(job: TrainingJob, tmp_path: Path) -> None:
    trainer = HostedTrainer(api_key=KEY)
    half = TrainingSettings(epochs=1.5)
    with pytest.raises(RecipeError, match="whole epochs: use epochs=2"):
        trainer.check(TrainingJob(job.base_model, job.rows, half, job.folder))
    folder = write_model(tmp_path / "base")
    with pytest.raises(TrainingError, match="is a local folder"):
        trainer.check(TrainingJob(str(folder), job.rows, job.settings, job.folder))


async def test_an_invalid_url_is_an_error(job: TrainingJob) -> None:
    with pytest.raises(TrainingError, match="check base_url and the key"):
        await HostedTrainer(base_url="nowhere", api_key=KEY).train(job)
