"""`HostedTrainer` against a local server that speaks OpenAI's fine-tuning API."""

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

from lmpipe.errors import RecipeError, TrainingError
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


async def test_rows_become_a_model_by_name(host: Host, job: TrainingJob) -> None:
    trainer: Trainer = trainer_at(host)
    trainer.check(job)
    told: list[TrainingProgress] = []
    trained = await trainer.train(job, told.append)
    assert trained.model == "ft:gpt-small:acme::1"
    assert trained.curve == ((1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3)))
    assert trained.held_out == ((1, 2.0), (2, 1.0), (3, pytest.approx(2 / 3)))
    assert trained.seconds == 60.0
    assert trained.base == {"model": "gpt-small", "revision": ""}
    assert [(one.step, one.steps) for one in told] == [(3, 3), (3, 3)]
    record = json.loads((job.folder / "training.json").read_text())
    assert record["model"] == trained.model


async def test_the_order_is_in_openais_terms(host: Host, job: TrainingJob) -> None:
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
    assert spelled(trained + watched) == spelled(expected)


def spelled(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(json.dumps(row, sort_keys=True) for row in rows)


async def test_preferences_are_in_openais_terms_too(host: Host, job: TrainingJob) -> None:
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


async def test_what_is_done_is_not_asked_for_again(host: Host, job: TrainingJob) -> None:
    first = await trainer_at(host).train(job)
    asked = len(host.asked)
    assert await trainer_at(host).train(job) == first
    assert len(host.asked) == asked


async def test_a_wait_that_was_broken_off_finds_the_same_job_again(
    host: Host, job: TrainingJob
) -> None:
    host.looks = 1000
    looked = asyncio.Event()
    waiting = asyncio.create_task(trainer_at(host).train(job, lambda _: looked.set()))
    await looked.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    host.looks = 1
    trained = await trainer_at(host).train(job)
    assert trained.model == "ft:gpt-small:acme::1"
    assert len(host.jobs) == 1
    assert len(host.files) == 2


async def test_an_order_whose_answer_was_lost_is_not_given_twice(
    host: Host, job: TrainingJob
) -> None:
    # Two uploads and a look at the jobs that there are go well; the order's answer is lost.
    host.failures = ["", "", "", "lost"]
    await trainer_at(host).train(job)
    assert len(host.jobs) == 1


async def test_a_server_that_is_overloaded_is_asked_again(host: Host, job: TrainingJob) -> None:
    host.failures = [429, 503]
    assert (await trainer_at(host).train(job)).model
    host.failures = [500] * 3
    other = TrainingJob(job.base_model, job.rows, TrainingSettings(seed=1), job.folder)
    with pytest.raises(TrainingError, match=r"answered 500: .*3 attempts"):
        await trainer_at(host).train(other)


async def test_a_job_that_fails_says_why_and_the_next_try_is_a_new_one(
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


async def test_the_key_is_in_no_message_file_or_log(
    host: Host, job: TrainingJob, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    said = []
    host.failures = [400]
    with pytest.raises(TrainingError) as refused:
        await trainer_at(host).train(job)
    said.append(str(refused.value))
    host.ends_as = "failed"
    with pytest.raises(TrainingError) as failed:
        await trainer_at(host).train(job)
    said.append(str(failed.value))
    with pytest.raises(TrainingError) as unknown:
        await trainer_at(host, key=f"{KEY}-but-wrong").train(job)
    said.append(str(unknown.value))
    host.ends_as = "succeeded"
    await trainer_at(host).train(job)
    assert [KEY in text for text in (*said, repr(trainer_at(host)), caplog.text)] == [False] * 5
    assert files_with(KEY, tmp_path) == []
    assert files_with("gpt-small", tmp_path) != []


def test_openai_needs_a_key_and_another_server_does_not_get_openais(
    job: TrainingJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(TrainingError, match="set OPENAI_API_KEY"):
        HostedTrainer().check(job)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    HostedTrainer().check(job)
    assert HostedTrainer(base_url="http://127.0.0.1:1/v1")._key_to_use() == ""


def test_what_a_provider_does_not_have_is_refused_before_anything_is_spent(
    job: TrainingJob, tmp_path: Path
) -> None:
    trainer = HostedTrainer(api_key=KEY)
    half = TrainingSettings(epochs=1.5)
    with pytest.raises(RecipeError, match="whole ones: give 2"):
        trainer.check(TrainingJob(job.base_model, job.rows, half, job.folder))
    folder = write_model(tmp_path / "base")
    with pytest.raises(TrainingError, match="is a folder here"):
        trainer.check(TrainingJob(str(folder), job.rows, job.settings, job.folder))


async def test_a_server_that_speaks_something_else(job: TrainingJob) -> None:
    with pytest.raises(TrainingError, match="check base_url and the key"):
        await HostedTrainer(base_url="nowhere", api_key=KEY).train(job)
